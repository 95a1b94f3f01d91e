"""Commands that read artefacts: validate, gate, inspect, bench, predict."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.runtime.machine.cpu import Cpu
from tests import quantized_forms
from tests.artefacts import Bertc, PathOf

TASKS = ("sequence-classification", "token-classification", "question-answering", "feature-extraction")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fixture", ["artefact_of", "ort_artefact_of"])
def test_validate_gives_the_figures_of_the_report(
    bertc: Bertc, request: pytest.FixtureRequest, data_of: PathOf, fixture: str, task: str
) -> None:
    out = request.getfixturevalue(fixture)(task)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    called = bertc("validate", out, "--validation-data", data_of(task), "--json")
    assert called.code == 0
    for part in ("accuracy", "metrics", "gates", "passed"):
        assert called.json[part] == report[part], part
    assert called.json["notes"] == []
    source = report["data"]["validation"]
    assert called.json["data"] == {"path": source["path"], "reading": source["reading"]}


def test_validate_says_how_columns_and_labels_were_read_as_the_build_does(
    bertc: Bertc, artefact: Path, rows: Path, tmp_path: Path
) -> None:
    """By names here, by ids there, where one file's 0 may be another's 1."""
    told = {}
    for labels in ((), ("0", "1")):
        lines = rows.read_text(encoding="utf-8")
        for name, number in zip(("negative", "positive"), labels, strict=False):
            lines = lines.replace(name, number)
        place = tmp_path / f"rows{rows.suffix}"
        place.write_text(lines, encoding="utf-8")
        called = bertc("validate", artefact, "--validation-data", place)
        assert called.code == 0, called.err
        (told[labels],) = [line for line in called.out.splitlines() if line.startswith("read ")]
        assert f"{place} to validate: " in told[labels] and "columns text=" in told[labels]
    assert "labels by name" in told[()] and "'0' is negative, '1' is positive" in told["0", "1"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fixture", ["artefact_of", "ort_artefact_of"])
def test_validate_in_shards_gives_the_figures_of_the_report(
    bertc: Bertc,
    request: pytest.FixtureRequest,
    data_of: PathOf,
    checkpoint_of: PathOf,
    fixture: str,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where texts share rows, it is with others than at the build, of which an output depends in its last digits."""
    out = request.getfixturevalue(fixture)(task)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    monkeypatch.setattr("bertc.data.encoded.SHARD_ROWS", 7)
    for reference in ((), ("--checkpoint", checkpoint_of(task))):
        called = bertc("validate", out, "--validation-data", data_of(task), *reference, "--json")
        assert called.code == 0
        found = called.json["accuracy"]
        assert isinstance(found, dict) and found["samples"] == report["accuracy"]["samples"]
        for side in ("reference", "engine", "drop"):
            assert found[side] == pytest.approx(report["accuracy"][side], abs=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_validate_beside_the_checkpoint_agrees(
    bertc: Bertc, artefact_of: PathOf, data_of: PathOf, checkpoint_of: PathOf, task: str
) -> None:
    out = artefact_of(task)
    alone = bertc("validate", out, "--validation-data", data_of(task), "--json").json
    beside = bertc(
        "validate", out, "--validation-data", data_of(task), "--checkpoint", checkpoint_of(task), "--json"
    ).json
    assert alone["accuracy"] == beside["accuracy"]
    assert (alone["reference"], beside["reference"]) == ("rows", "checkpoint")


def test_validate_on_some_of_the_rows_and_on_others(
    bertc: Bertc, tmp_path: Path, artefact: Path, rows: Path, classifier: Path
) -> None:
    lines = rows.read_text(encoding="utf-8").splitlines()
    some, other, relabelled = (tmp_path / name for name in ("some.tsv", "other.tsv", "relabelled.tsv"))
    some.write_text("\n".join([lines[0], *reversed(lines[20:40])]) + "\n", encoding="utf-8")
    called = bertc("validate", artefact, "--validation-data", some, "--json")
    assert called.code == 0
    accuracy = called.json["accuracy"]
    assert isinstance(accuracy, dict) and accuracy["samples"] == 20 and accuracy["agreement"] is not None
    new = "text\tlabel\na new film\tpositive\nbad\tnegative\n"
    other.write_text(new, encoding="utf-8")
    called = bertc("validate", artefact, "--validation-data", other, "--checkpoint", classifier)
    assert called.code == 2 and "2 rows are too few" in called.err
    other.write_text(new + "good\tpositive\na bad film\tnegative\n", encoding="utf-8")
    called = bertc("validate", artefact, "--validation-data", other)
    assert called.code == 2 and "4 of 4 rows" in called.err and "--checkpoint" in called.err
    assert bertc("validate", artefact, "--validation-data", other, "--checkpoint", classifier).code == 0
    swapped = lines[1].replace("negative", "positive") if "negative" in lines[1] else lines[1].replace("posi", "nega")
    relabelled.write_text("\n".join([lines[0], swapped]) + "\n", encoding="utf-8")
    assert bertc("validate", artefact, "--validation-data", relabelled).code == 2


def test_validate_by_other_gates(
    bertc: Bertc, tmp_path: Path, artefact: Path, rows: Path, checkpoint_of: PathOf
) -> None:
    data = ("--validation-data", rows)
    called = bertc("validate", artefact, *data, "--gate", "logit_mse:0.0000000001abs", "-q")
    assert called.code == 1
    assert called.err.startswith("not passed: logit_mse went") and "largest errors: layer." in called.err
    called = bertc("validate", artefact, *data, "--gate", "recall[positive]:1%")
    assert called.code == 2 and "--checkpoint" in called.err
    other = checkpoint_of("token-classification")
    assert bertc("validate", artefact, *data, "--checkpoint", other).code == 2


def test_gate_writes_compares_and_updates_a_baseline(bertc: Bertc, tmp_path: Path, artefact: Path) -> None:
    report, baseline = artefact / "report.json", tmp_path / "baseline.json"
    called = bertc("gate", report, "--baseline", baseline)
    assert called.code == 2 and "--update" in called.err
    junit, markdown = tmp_path / "out.xml", tmp_path / "out.md"
    called = bertc("gate", report, "--baseline", baseline, "--update", "--junit", junit)
    assert called.code == 0 and "nothing was compared" in called.err and not junit.exists()
    called = bertc("gate", artefact, "--baseline", baseline, "--junit", junit, "--markdown", markdown)
    assert called.code == 0 and "48 paired" in called.out and "nothing was compared" not in called.err
    assert junit.read_text(encoding="utf-8").startswith("<?xml") and "passed" in markdown.read_text(encoding="utf-8")
    assert bertc("gate", report, "--baseline", baseline, "--json").json["passed"] is True
    baseline.write_text('{"kind": "bertc baseline"}', encoding="utf-8")
    assert bertc("gate", report, "--baseline", baseline).code == 2
    assert bertc("gate", report, "--baseline", baseline, "--update").code == 0
    assert bertc("gate", report, "--baseline", baseline).code == 0


def test_gate_fails_where_the_build_doubted_the_float_model(bertc: Bertc, tmp_path: Path, artefact: Path) -> None:
    copy, baseline = tmp_path / "copy", tmp_path / "baseline.json"
    shutil.copytree(artefact, copy)
    assert bertc("gate", copy, "--baseline", baseline, "--update").code == 0
    report = json.loads((copy / "report.json").read_text(encoding="utf-8"))
    doubt = {"metric": "accuracy", "reason": "float is a guess", "value": 0.1, "floor": 0.5, "grave": True}
    (copy / "report.json").write_text(json.dumps(report | {"doubt": doubt}), encoding="utf-8")
    called = bertc("gate", copy, "--baseline", baseline)
    assert called.code == 1 and called.err == "not passed: float is a guess\n"
    called = bertc("gate", copy, "--baseline", baseline, "--any-reference")
    assert called.code == 0 and "float is a guess" in called.out


def test_gate_fails_on_a_worse_engine_and_says_so(
    bertc: Bertc, tmp_path: Path, artefact: Path, classifier: Path, rows: Path
) -> None:
    baseline, worse = tmp_path / "baseline.json", tmp_path / "worse"
    assert bertc("gate", artefact, "--baseline", baseline, "--update", "-q").code == 0
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", worse, *options, "--int8-mode", "3").code == 0
    gate = ("--gate", "logit_mse:0.00001abs")
    called = bertc("gate", worse, "--baseline", baseline, "--limit", "1abs", *gate, "--junit", tmp_path / "o.xml")
    assert called.code == 1
    assert called.err.startswith("not passed: logit_mse") and "verdict  NOT PASSED" in called.out
    assert "<failure" in (tmp_path / "o.xml").read_text(encoding="utf-8")
    assert bertc("gate", worse, "--baseline", baseline, "--limit", "1abs", *gate, "--update").code == 0


@pytest.mark.parametrize(("fixture", "name"), [("artefact", "native.safetensors"), ("ort_artefact", "model.onnx")])
@pytest.mark.parametrize("command", ["validate", "inspect", "predict", "bench"])
def test_a_tampered_artefact_is_refused(
    bertc: Bertc, tmp_path: Path, request: pytest.FixtureRequest, rows: Path, command: str, fixture: str, name: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(request.getfixturevalue(fixture), copy)
    model = copy / name
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    more = {"validate": ("--validation-data", rows), "predict": ("--text", "a")}.get(command, ())
    called = bertc(command, copy, *more)
    assert called.code == 2
    assert f"manifest mismatch, {name}" in called.err and called.out == ""


def test_inspect_each_kind(bertc: Bertc, artefact: Path, classifier: Path, tmp_path: Path) -> None:
    called = bertc("inspect", classifier)
    assert called.code == 0 and "2 of width 64, 2 heads" in called.out and "negative, positive" in called.out
    called = bertc("inspect", artefact)
    assert called.code == 0 and "model.onnx" in called.out and "layer.1.gelu" in called.out
    called = bertc("inspect", artefact / "calibration.json", "--calibrator", "max", "--json")
    sites = called.json["sites"]
    assert isinstance(sites, list)
    probs = [site for site in sites if site["site"] == "layer.0.probs"]
    assert probs[0]["amax"] == 1.0
    assert {site["smoothed"] for site in sites} == {True, False}
    assert all(0 <= site["error"] < 1 for site in sites)
    assert "smoothed" in bertc("inspect", artefact / "calibration.json").out
    (tmp_path / "x.json").write_text("[]", encoding="utf-8")
    assert bertc("inspect", tmp_path / "x.json").code == 2
    assert bertc("inspect", tmp_path / "none").code == 2


def test_inspect_an_onnx_file_of_any_tool(bertc: Bertc, ort_artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    ir.save(quantized_forms.shared(np.int8), path)
    called = bertc("inspect", path)
    assert called.code == 0 and "opset 21, by forms" in called.out and "0 of 3 will run in INT8" in called.out
    assert "3 of 3 products will run in float, because" in called.out
    assert "quantize activations to UINT8" in called.out and "which    MatMul_" in called.out
    called = bertc("inspect", path, "--json")
    assert called.json["count"] == 3
    assert called.json["verdicts"] == {"int8": 0, "slow": 0, "broken": 0, "float": 3, "gone": 0}
    products = called.json["products"]
    assert isinstance(products, list) and {each["runs_as"] for each in products} == {"MatMul"}
    ir.save(quantized_forms.shared(np.uint8), path)
    called = bertc("inspect", path)
    assert "3 of 3 will run in INT8" in called.out and "because" not in called.out
    called = bertc("inspect", ort_artefact / "model.onnx")
    assert called.code == 0 and "QAttention computes them in float" in called.out
    assert bertc("inspect", tmp_path / "none.onnx").code == 2


def test_inspect_says_where_sums_saturate(bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "quantized.onnx"
    ir.save(quantized_forms.product(), path)
    for features, warned in (({"avx2", "avx_vnni"}, False), ({"avx2"}, True)):
        cpu = Cpu(model="some", machine="x86_64", features=frozenset(features), cores=1)
        monkeypatch.setattr("bertc.jobs.inspect.cpu_features", lambda cpu=cpu: cpu)
        assert ("warning    this CPU has no VNNI" in bertc("inspect", path).out) == warned


def test_bench_takes_artefacts_of_several_tasks(bertc: Bertc, artefact: Path, artefact_of: PathOf) -> None:
    other = artefact_of("question-answering")
    called = bertc("bench", artefact, other, "--shape", "1x8", "--shape", "2x16", "--rounds", "2", "--json")
    assert called.code == 0
    found = json.loads(called.out)["timings"]
    assert [(row["batch"], row["length"]) for row in found] == [(1, 8), (1, 8), (2, 16), (2, 16)]
    assert found[0]["ratio"] == 1.0 and all(row["p99"] >= row["p95"] >= row["p50"] > 0 for row in found)
    assert all(len(row["rounds"]) == 2 for row in found)
    assert bertc("bench", artefact, "--shape", "1x500").code == 2
    assert bertc("bench", artefact, artefact).code == 2
    assert "times as fast" in bertc("bench", artefact, "--shape", "1x8", "--rounds", "1").out


def test_bench_times_any_rows_of_a_query(bertc: Bertc, tmp_path: Path, artefact_of: PathOf) -> None:
    texts = tmp_path / "rows.tsv"
    texts.write_text("text_a\ttext_b\n" + "good film\tbad film\n" * 9, encoding="utf-8")
    called = bertc("bench", artefact_of("text-ranking"), "--texts", texts, "--limit", "4", "--rounds", "1", "--json")
    assert called.code == 0, called.err


def test_what_does_not_exist_is_told_before_an_option_that_does_not_fit_it(bertc: Bertc, tmp_path: Path) -> None:
    assert "absent does not exist" in bertc("inspect", tmp_path / "absent", "--engine", "native").err
    called = bertc("inspect", tmp_path, "--engine", "native")
    assert called.code == 2 and "--engine is of an artefact" in called.err


def test_predict_streams_a_file_in_order(
    bertc: Bertc, tmp_path: Path, artefact: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bertc("predict", artefact, "--input", rows)
    lines = [json.loads(line) for line in whole.out.splitlines()]
    assert len(lines) == 48 and set(lines[0]) == {"label", "score", "scores"}
    target = tmp_path / "answers.jsonl"
    written = bertc("predict", artefact, "--input", rows, "-o", target, "--batch", "5")
    assert written.code == 0 and written.err.startswith("predict ") and "predict " not in whole.err
    parts = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [line["label"] for line in parts] == [line["label"] for line in lines]
    monkeypatch.setattr("sys.stdin", io.StringIO("good film\n\nbad\n"))
    piped = bertc("predict", artefact, "--input", "-")
    assert [json.loads(line) is None for line in piped.out.splitlines()] == [False, True, False]
    assert "1 of 3 texts are empty; their answers are null" in piped.err
    called = bertc("predict", artefact, "--input", rows, "--column", "text=nowhere")
    assert called.code == 2 and "no such column" in called.err


def test_a_failed_prediction_leaves_the_old_answers(bertc: Bertc, tmp_path: Path, artefact: Path) -> None:
    target, source = tmp_path / "answers.jsonl", tmp_path / "texts.jsonl"
    target.write_text('{"old": 1}\n', encoding="utf-8")
    source.write_text('{"text": "good"}\n{"text": []}\n', encoding="utf-8")
    called = bertc("predict", artefact, "--input", source, "-o", target, "--force")
    assert called.code == 2 and "line 2" in called.err
    assert target.read_text(encoding="utf-8") == '{"old": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "empty"),
    [
        ("a.txt", "a\n\n  \nb\n", [False, True, True, False]),
        ("a.jsonl", '{"text": "a"}\n{"text": ""}\n{"text": null}\n{"text": "b"}\n', [False, True, True, False]),
        ("a.csv", 'text\na\n""\nb\n', [False, True, False]),
        ("a.tsv", "text\tlabel\na\t1\n\t0\n\t\nb\t1\n", [False, True, True, False]),
        ("b.txt", "a\nb\n", [False, False]),
    ],
)
def test_every_empty_text_of_a_file_has_its_answer(
    bertc: Bertc, tmp_path: Path, artefact: Path, name: str, content: str, empty: list[bool]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    called = bertc("predict", artefact, "--input", tmp_path / name)
    assert called.code == 0 and [json.loads(line) is None for line in called.out.splitlines()] == empty
    assert (f"{sum(empty)} of {len(empty)} texts are empty" in called.err) == any(empty)


def test_predict_texts(bertc: Bertc, artefact_of: PathOf) -> None:
    called = bertc("predict", artefact_of("question-answering"), "--text", "what is it", "--pair", "a red car")
    assert called.code == 0 and json.loads(called.out)["answer"] in "a red car"
    assert bertc("predict", artefact_of("question-answering"), "--text", "what is it").code == 2
    assert bertc("predict", artefact_of("token-classification"), "--text", "a", "--pair", "b").code == 2
    assert bertc("predict", artefact_of("feature-extraction"), "--text", "a", "--text", "b").out.count("\n") == 2


def test_bench_times_a_file_with_its_lengths_and_draws(
    bertc: Bertc, artefact: Path, rows: Path, tmp_path: Path
) -> None:
    other, page = tmp_path / "<b>other", tmp_path / "bench.html"
    shutil.copytree(artefact, other)
    options = ("--rounds", "2", "--threads", "1", "--plot", page, "--json")
    called = bertc("bench", artefact, other, "--texts", rows, "--batch", "10", "--limit", "40", *options)
    assert called.code == 0
    first, second = json.loads(called.out)["timings"]
    assert (first["work"], first["batch"], first["length"], first["texts"]) == (rows.name, 10, None, 40)
    assert second["ratio_range"][0] <= second["ratio"] <= second["ratio_range"][1]
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") >= 2 and rows.name in html and "<b>other" not in html and "&lt;b&gt;other" in html
    if hasattr(os, "sched_getaffinity"):
        assert len(os.sched_getaffinity(0)) > 1 or os.cpu_count() == 1


def test_bench_times_several_callers_beside_one(bertc: Bertc, artefact: Path, rows: Path) -> None:
    options = ("--rounds", "2", "--shape", "1x8", "--texts", rows, "--batch", "10", "--limit", "40")
    called = bertc("bench", artefact, "--callers", "2", *options, "--json")
    found = json.loads(called.out)["timings"]
    assert [(row["callers"], row["work"]) for row in found] == [
        (callers, work) for work in ("1x8", rows.name) for callers in (1, 2)
    ]
    assert found[0]["ratio"] == found[2]["ratio"] == 1.0 and found[1]["texts_per_second"] > 0
    assert found[2]["texts"] == found[3]["texts"] == 40
    shown = bertc("bench", artefact, "--callers", "2", "--shape", "1x8", "--rounds", "1").out
    assert shown.count("2 callers of one thread") == 1
    assert "callers" not in bertc("bench", artefact, "--shape", "1x8", "--rounds", "1").out


def test_bench_refuses_more_callers_than_calls(bertc: Bertc, artefact: Path, rows: Path) -> None:
    called = bertc("bench", artefact, "--callers", "5", "--texts", rows, "--batch", "10", "--limit", "40")
    assert called.code == 2 and "fewer than 5 callers" in called.err
    assert bertc("bench", artefact, "--callers", "0").code == 2


def test_bench_refuses_texts_that_are_not_there_or_not_of_the_task(
    bertc: Bertc, artefact: Path, artefact_of: PathOf, rows: Path, tmp_path: Path
) -> None:
    assert bertc("bench", artefact, "--texts", tmp_path / "none.tsv").code == 2
    assert bertc("bench", artefact_of("question-answering"), "--texts", rows).code == 2
    for flag, value in (("--column", "text=1"), ("--batch", 8), ("--limit", 9)):
        called = bertc("bench", artefact, flag, value)
        assert called.code == 2 and f"{flag} is of the file that --texts names; give both" in called.err


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("", ("--calibrator", "max"), "--calibrator is of a calibration table, and .* is an artefact; leave it out"),
        ("", ("--percentile", "99"), "--percentile is of a calibration table, and .* is an artefact"),
        ("", ("--task", "fill-mask"), "--task is of a checkpoint, and .* is an artefact"),
        ("calibration.json", ("--engine", "native"), "--engine is of an artefact, and .* is a calibration table"),
        ("calibration.json", ("--calibrator", "max", "--percentile", "99"), "--percentile is of --calibrator perc"),
        ("model.onnx", ("--allow-failed",), "--allow-failed is of an artefact, and .* is an ONNX file"),
    ],
)
def test_inspect_takes_options_of_what_is_there(
    bertc: Bertc, artefact: Path, name: str, flags: tuple[str, ...], said: str
) -> None:
    called = bertc("inspect", artefact / name, *flags)
    assert called.code == 2 and re.search(said, called.err) and not called.out
