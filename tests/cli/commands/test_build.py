"""bertc build, config and the stages alone: what they print, write and refuse."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.recipe import Recipe, recipe_from_path
from tests.artefacts import Bertc
from tests.fixtures import tiny_tensors, tiny_vocab, write_safetensors, write_tiny_bert

PASSING = ("--max-drop", "2abs", "--no-cache")


def test_a_build_that_passes_says_what_it_found(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    out = tmp_path / "out"
    called = bertc("build", classifier, "-o", out, "--calibration-data", rows, "--validation-data", rows, *PASSING)
    assert called.code == 0
    labels = [line.split()[0] for line in called.out.splitlines()]
    # The weights are random: that the float model knows nothing is said first, and is not grave on so few rows.
    assert labels[:9] == ["doubt", "verdict", "read", "read", "metric", "drop", "agreement", "gate", "size"]
    assert f"read       {rows} to calibrate: tsv with a header; columns text=text, label=label; 48 rows\n" in called.out
    assert f"read       {rows} to validate: tsv with a header; columns text=text, label=label; labels by" in called.out
    assert labels[-1] == "report" and str(out / "report.html") in called.out
    assert "calibrate" in called.err and "compare" in called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    calibration, validation = (report["data"][part]["reading"] for part in ("calibration", "validation"))
    assert (calibration["form"], calibration["header"], calibration["rows"]) == ("tsv", True, 48)
    assert (calibration["labelled"], validation["labelled"]) == (None, 48)
    assert report["command"].startswith(f"bertc build {classifier} -o {out} --calibration-data")
    verify_artefact(out)


def test_of_a_table_s_text_nothing_is_said(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    table = tmp_path / "table.json"
    assert bertc("calibrate", classifier, "--calibration-data", rows, "-o", table, "--no-cache").code == 0
    options = ("--calibration", table, "--unvalidated", "--no-cache")
    called = bertc("build", classifier, "-o", tmp_path / "out", *options)
    assert called.code == 0 and "to calibrate" not in called.out
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["calibration"]["reading"] is None


def test_json_is_the_report_and_quiet_is_silence(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, *PASSING)
    called = bertc("build", classifier, "-o", tmp_path / "a", *options, "--json")
    assert called.out == (tmp_path / "a" / "report.json").read_text(encoding="utf-8")
    called = bertc("build", classifier, "-o", tmp_path / "b", *options, "--quiet")
    assert (called.code, called.out, called.err) == (0, "", "")


def test_a_verdict_that_is_no_pass_is_code_1_and_one_line(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", *options, "--gate", "logit_mse:0.0000000001abs")
    assert called.code == 1
    assert called.err.count("\n") == 1
    assert "beyond the limit" in called.err and "largest errors: layer." in called.err
    assert called.err.count("layer.") == 3
    verify_artefact(tmp_path / "out")


def test_unvalidated_is_said_everywhere(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    out = tmp_path / "out"
    called = bertc("build", classifier, "-o", out, "--calibration-data", rows, "--unvalidated", "--no-cache")
    assert called.code == 0 and "UNVALIDATED" in called.out
    called = bertc("predict", out, "--text", "good film")
    assert called.code == 0 and "unvalidated" in called.err
    assert "UNVALIDATED" in bertc("inspect", out).out
    called = bertc("validate", out, "--validation-data", rows)
    assert called.code == 2 and "--checkpoint" in called.err
    called = bertc("validate", out, "--validation-data", rows, "--checkpoint", classifier, "--max-drop", "2abs")
    assert called.code == 0


def test_schema_names_the_columns_and_labels(bertc: Bertc, classifier: Path) -> None:
    called = bertc("build", classifier, "--schema")
    assert called.code == 0 and "text_a" in called.out and "negative, positive" in called.out
    assert bertc("build", classifier, "--schema", "--json").json["labels"] == ["negative", "positive"]


def test_a_recipe_of_config_holds_every_default_and_builds(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    path = tmp_path / "recipe.toml"
    assert bertc("config", classifier, "-o", path).code == 0
    assert bertc("config", classifier, "-o", path).code == 2
    assert bertc("config", classifier, "-o", path, "--force").code == 0
    assert recipe_from_path(path, {}) == Recipe(checkpoint=str(classifier), task="sequence-classification")
    text = bertc("config", classifier).out
    assert text == path.read_text(encoding="utf-8")
    examples = "\n".join(
        line.removeprefix("# ") if " = " in line and "{" not in line else line for line in text.splitlines()
    )
    given = tomllib.loads("\n".join(line for line in examples.splitlines() if not line.startswith("#")))
    fields = {
        name: set(section) for name, section in Recipe(checkpoint="x").model_dump().items() if isinstance(section, dict)
    }
    assert {name: set(section) for name, section in given.items() if isinstance(section, dict)} == fields
    options = ("--calibration-data", rows, "--validation-data", rows, *PASSING, "-q")
    assert bertc("build", "--recipe", path, "-o", tmp_path / "out", *options).code == 0


def test_config_writes_its_file_with_json_too(bertc: Bertc, tmp_path: Path, classifier: Path) -> None:
    path, other = tmp_path / "recipe.toml", tmp_path / "other.toml"
    called = bertc("config", classifier, "-o", path, "--json")
    assert called.code == 0 and called.json["checkpoint"] == str(classifier)
    assert bertc("config", classifier, "-o", other).code == 0
    assert path.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")
    assert bertc("config", classifier, "-o", path, "--json").code == 2


def test_config_with_json_and_without_a_file_writes_none(bertc: Bertc, tmp_path: Path, classifier: Path) -> None:
    before = sorted(tmp_path.iterdir())
    called = bertc("config", classifier, "--json")
    assert called.json["checkpoint"] == str(classifier) and sorted(tmp_path.iterdir()) == before


def _broken(path: Path, kind: str) -> Path:
    """Write a checkpoint that cannot be compiled."""
    write_tiny_bert(path)
    weights = path / "model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:4000])
    elif kind == "nan":
        sizes = json.loads((path / "config.json").read_text(encoding="utf-8"))
        assert sizes["vocab_size"] == len(tiny_vocab())
        tensors = tiny_tensors("sequence-classification", sizes, scores=2)
        tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] = np.nan
        write_safetensors(weights, tensors, "float32")
    elif kind == "tokenizer":
        (path / "tokenizer.json").unlink()
        (path / "vocab.txt").unlink()
    elif kind == "family":
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        (path / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [("truncated", "truncated"), ("nan", "NaN"), ("tokenizer", "vocab.txt"), ("family", "gpt2")],
)
def test_a_broken_checkpoint_is_one_line_and_leaves_the_folder(
    bertc: Bertc, tmp_path: Path, rows: Path, kind: str, words: str
) -> None:
    checkpoint, out = _broken(tmp_path / "model", kind), tmp_path / "out"
    called = bertc(
        "build", checkpoint, "-o", out, "--calibration-data", rows, "--validation-data", rows, *PASSING, "-q"
    )
    assert called.code == 2
    assert words in called.err and called.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text\tlabel\nx\tweird\n", "does not know the label 'weird'"),
        ("", "the file is empty"),
        ("a\tb\nx\ty\n", "no column for"),
        (None, "there is no such file"),
    ],
)
def test_bad_data_is_one_line(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path, content: str | None, words: str
) -> None:
    data = tmp_path / "bad.csv"
    if content is not None:
        data.write_text(content.replace("\t", ","), encoding="utf-8")
    options = ("--calibration-data", rows, "--validation-data", data, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", *options)
    assert called.code == 2
    assert words in called.err and called.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_out_is_never_taken_from_somebody_else(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("mine", encoding="utf-8")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    for out, words in ((file, "is a file"), (folder, "did not write it")):
        called = bertc("build", classifier, "-o", out, "--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
        assert called.code == 2 and words in called.err
    assert file.read_text(encoding="utf-8") == (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_a_second_build_takes_its_stages_from_the_cache(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs")
    arguments = ("build", classifier, "-o", tmp_path / "out", *options, "--cache-dir", tmp_path / "cache")
    assert "taken from the cache" not in bertc(*arguments).err
    assert "calibrate: unchanged, taken from the cache" in bertc(*arguments).err
    facts = bertc("doctor", "--cache-dir", tmp_path / "cache", "--json").json["cache"]
    assert isinstance(facts, dict) and facts["entries"] >= 3 and facts["bytes"] > 0


def test_the_stages_alone(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    table, graph, model = tmp_path / "t.json", tmp_path / "q.onnx", tmp_path / "m.onnx"
    called = bertc("calibrate", classifier, "--calibration-data", rows, "-o", table, "--no-cache", "--json")
    assert called.code == 0 and called.json["sites"] == 30
    called = bertc("quantize", classifier, "--calibration", table, "--int8-mode", "3", "-o", graph, "--json")
    assert called.code == 0 and called.json["unvalidated"] is True
    counts = called.json["counts"]
    assert isinstance(counts, dict) and counts["weights"] == 12 and counts["scores"] == 2
    called = bertc("export", classifier, "--calibration", table, "-o", model)
    assert called.code == 0 and "unvalidated" in called.err
    called = bertc("export", classifier, "--target", "float", "-o", tmp_path, "--json")
    assert called.json["counts"] is None and (tmp_path / "model.onnx").stat().st_size > model.stat().st_size
    import onnxruntime

    for path in (graph, model):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert next(value.name for value in session.get_inputs()) == "input_ids"


def test_a_table_of_another_checkpoint_is_refused(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    other, table = write_tiny_bert(tmp_path / "other", seed=7), tmp_path / "t.json"
    assert bertc("calibrate", other, "--calibration-data", rows, "-o", table, "--no-cache", "-q").code == 0
    called = bertc("build", classifier, "-o", tmp_path / "out", "--calibration", table, "--unvalidated", "--no-cache")
    assert called.code == 2 and "another checkpoint" in called.err
