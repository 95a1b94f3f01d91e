"""Every head, activation, calibrator and target goes through build, predict and validate, with a tiny random model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc as package
from bertc.evaluate.reference import LEAST_ROWS
from tests.endtoend.conftest import ANY_DROP, POSITIONS, TEXTS, Bertc, Place, report_of, write_labelled, write_place
from tests.fixtures import edit_json, write_tiny_bert, write_tiny_pylate, write_tiny_sentences

ROWS = 20
PAIRS = tuple(pairwise(TEXTS))[:ROWS]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A head: how its checkpoint and data are written, its main metric, and what an answer looks like."""

    checkpoint: Callable[[Path], Path]
    data: Callable[[Path], Path]
    metric: str
    answer: Callable[[Answer], bool]
    pair: bool = False
    samples: int = ROWS
    ask: str = "a good film"
    options: tuple[str, ...] = ()


def model(task: str = "sequence-classification", **options: Any) -> Callable[[Path], Path]:
    return lambda folder: write_tiny_bert(folder / "model", task=task, positions=POSITIONS, **options)


def embedder(pooling: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_tiny_sentences(folder / "model")
        write_tiny_bert(path, task="feature-extraction", positions=POSITIONS)
        flags = {f"pooling_mode_{name}": name == pooling for name in ("cls_token", "mean_tokens", "max_tokens")}
        edit_json(path / "1_Pooling" / "config.json", **flags)
        return path

    return write


def table(header: str, lines: list[str], name: str = "data.tsv") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
        return path

    return write


def is_number(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def is_label(answer: Answer) -> bool:
    scores = answer["scores"]
    return answer["label"] == max(scores, key=scores.get) and abs(sum(scores.values()) - 1) < 1e-5


def is_embedding(answer: Answer) -> bool:
    return np.isfinite(answer["embedding"]).all() and abs(np.linalg.norm(answer["embedding"]) - 1) < 1e-4


def assert_fused(report: dict[str, Any]) -> None:
    quantization = report["quantization"]
    assert report["engine"]["target"] == "native"
    assert (quantization["gemms_int8"], quantization["gemms_float"]) == (12 + 4, 0), "attention's products too"
    assert quantization["fused_expected"] == {"attention": 2, "int8_attention": 2, "layer_norm": 5}
    assert quantization["fused_expected"].items() <= quantization["fused"].items()


TAGS = ("O", "B-person", "I-person", "O")
PLAIN = [f"{text}\t{('negative', 'positive')[index % 2]}" for index, text in enumerate(TEXTS[:ROWS])]
PAIRED = [f"{first}\t{second}\t{('no', 'yes', 'maybe')[i % 3]}" for i, (first, second) in enumerate(PAIRS)]
SCORED = [f"{first}\t{second}\t{i % 5}" for i, (first, second) in enumerate(PAIRS)]
RANKED = [f"{TEXTS[i // 4]}\t{second}\t{i % 4}" for i, (_, second) in enumerate(PAIRS)]
RANKED_QUERIES = ROWS // 4
SEVERAL = [json.dumps({"text": text, "labels": [["a"], ["a", "c"], []][i % 3]}) for i, text in enumerate(TEXTS[:ROWS])]
WORDS = ["\n".join(f"{w}\t{TAGS[i % 4]}" for i, w in enumerate(text.split())) + "\n" for text in TEXTS[:ROWS]]
ASKED = [json.dumps({"question": "who is it", "context": t, "answers": [t.split()[1]]}) for t in TEXTS[:ROWS]]
MASKED = [f"{text} [MASK]\t{('good', 'bad', 'film')[i % 3]}" for i, text in enumerate(TEXTS[:ROWS])]
SIMILAR = table("sentence1\tsentence2\tscore", SCORED)
REGRESSION = {"problem_type": "regression"}
PROJECTED = ("Transformer", "Pooling", "Dense", "Normalize")
MULTI_LABEL = {"problem_type": "multi_label_classification"}

KINDS = {
    "classification": Kind(checkpoint=model(), data=table("text\tlabel", PLAIN), metric="accuracy", answer=is_label),
    "pairs": Kind(
        checkpoint=model(labels=("no", "yes", "maybe")),
        data=table("sentence1\tsentence2\tlabel", PAIRED),
        metric="accuracy",
        answer=is_label,
        pair=True,
    ),
    "regression": Kind(
        checkpoint=model(labels=("LABEL_0",), config=REGRESSION),
        data=table("sentence1\tsentence2\tscore", SCORED),
        metric="pearson",
        answer=lambda answer: is_number(answer["score"]),
        pair=True,
    ),
    "ranking": Kind(
        checkpoint=model(labels=("LABEL_0",)),
        data=table("query\tpassage\tlabel", RANKED),
        metric="ndcg@10",
        answer=lambda answer: is_number(answer["score"]),
        pair=True,
        samples=RANKED_QUERIES,
    ),
    "several labels": Kind(
        checkpoint=model(labels=("a", "b", "c"), config=MULTI_LABEL),
        data=table("", SEVERAL, "data.jsonl"),
        metric="f1",
        answer=lambda answer: set(answer["labels"]) <= {"a", "b", "c"} and set(answer["scores"]) == {"a", "b", "c"},
    ),
    "token classification": Kind(
        checkpoint=model("token-classification"),
        data=table("", WORDS, "data.conll"),
        metric="f1",
        answer=lambda answer: isinstance(answer["entities"], list),
    ),
    "question answering": Kind(
        checkpoint=model("question-answering"),
        data=table("", ASKED, "data.jsonl"),
        metric="f1",
        answer=lambda answer: isinstance(answer["answer"], str) and is_number(answer["score"]),
        pair=True,
    ),
    "late interaction, ranked": Kind(
        checkpoint=model("late-interaction"),
        data=table("query\tpassage\tlabel", RANKED),
        metric="ndcg@10",
        answer=lambda answer: is_number(answer["score"]),
        pair=True,
        samples=RANKED_QUERIES,
    ),
    "late interaction, graded": Kind(
        checkpoint=lambda folder: write_tiny_pylate(folder / "model", dense=2),
        data=SIMILAR,
        metric="spearman",
        answer=lambda answer: np.shape(answer["query"]) == (12, 32) and np.shape(answer["document"])[1] == 32,
    ),
    "embeddings, dense": Kind(
        checkpoint=lambda folder: write_tiny_sentences(folder / "model", modules=PROJECTED),
        data=SIMILAR,
        metric="spearman",
        answer=lambda answer: is_embedding(answer) and len(answer["embedding"]) == 48,
    ),
    "masks": Kind(
        checkpoint=model("fill-mask"),
        data=table("text\tlabel", MASKED),
        metric="accuracy",
        answer=lambda answer: len(answer["tokens"]) == 5 and is_number(answer["tokens"][0]["score"]),
        ask="a good [MASK]",
    ),
    "embeddings, sparse": Kind(
        checkpoint=model("fill-mask"),
        data=SIMILAR,
        metric="spearman",
        answer=lambda answer: all(weight > 0 for weight in answer["tokens"].values()),
        options=("--task", "sparse-embedding"),
    ),
    "embeddings, cls": Kind(checkpoint=embedder("cls_token"), data=SIMILAR, metric="spearman", answer=is_embedding),
    "embeddings, mean": Kind(checkpoint=embedder("mean_tokens"), data=SIMILAR, metric="spearman", answer=is_embedding),
    "embeddings, max": Kind(checkpoint=embedder("max_tokens"), data=SIMILAR, metric="spearman", answer=is_embedding),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_is_built_asked_and_validated(bertc: Bertc, tmp_path: Path, kind: str) -> None:
    wanted, out = KINDS[kind], tmp_path / "out"
    checkpoint, data = wanted.checkpoint(tmp_path), wanted.data(tmp_path)
    options = ["--calibration-data", data, "--validation-data", data, "--max-drop", "2abs", "--no-cache"]
    options += [*wanted.options, "--any-reference"]  # the weights are random
    built = bertc("build", checkpoint, "-o", out, *options)
    assert built.code == 0, built.err
    assert not built.err

    report = report_of(out)
    assert report["passed"] is True
    assert report["accuracy"]["metric"].endswith(wanted.metric)
    assert report["accuracy"]["samples"] == wanted.samples
    assert_fused(report)
    assert report["data"]["overlap"] == ROWS

    pair = ["--pair", "the red car was in paris"] if wanted.pair else []
    asked = bertc("predict", out, "--text", wanted.ask, *pair)
    assert asked.code == 0, asked.err
    assert wanted.answer(json.loads(asked.out)), asked.out

    streamed = bertc("predict", out, "--input", data)
    assert streamed.code == 0, streamed.err
    assert len(streamed.out.splitlines()) == ROWS

    again = bertc("validate", out, "--validation-data", data, "--json")
    assert again.code == 0, again.err
    found = json.loads(again.out)
    assert found["accuracy"] == report["accuracy"]
    assert {part["metric"]: part for part in found["metrics"]} == {part["metric"]: part for part in report["metrics"]}

    beside = bertc("validate", out, "--validation-data", data, "--checkpoint", checkpoint, "--json")
    assert beside.code == 0, beside.err
    assert json.loads(beside.out)["accuracy"] == report["accuracy"]


@pytest.mark.parametrize("kind", ["question answering", "regression"])
def test_an_answer_without_its_pair_is_refused_or_given(bertc: Bertc, tmp_path: Path, kind: str) -> None:
    wanted, out = KINDS[kind], tmp_path / "out"
    data = wanted.data(tmp_path)
    options = ["--calibration-data", data, "--validation-data", data, "--max-drop", "2abs", "--no-cache"]
    assert bertc("build", wanted.checkpoint(tmp_path), "-o", out, *options).code == 0
    asked = bertc("predict", out, "--text", "who is it")
    if kind == "regression":
        assert asked.code == 0, "a text alone is what such a model may be asked as well"
    else:
        assert asked.code == 2
        assert "context" in asked.error
    uneven = bertc("predict", out, "--text", "a", "--text", "b", "--pair", "c")
    assert uneven.code == 2
    assert "--pair" in uneven.error


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu_pytorch_tanh"])
def test_other_activations(bertc: Bertc, tmp_path: Path, activation: str) -> None:
    place = write_place(tmp_path, config={"hidden_act": activation})
    assert bertc(*place.build(tmp_path / "out")).code == 0
    assert_fused(report_of(tmp_path / "out"))


@pytest.mark.parametrize("calibrator", ["max", "percentile", "mse", "entropy"])
def test_every_calibrator(bertc: Bertc, place: Place, artefact: Path, tmp_path: Path, calibrator: str) -> None:
    called = bertc(*place.build(tmp_path / "out", "--calibrator", calibrator))
    assert called.code == 0, called.err
    report = report_of(tmp_path / "out")
    assert report["quantization"]["calibrator"].startswith(calibrator)
    same = [part["amax"] for part in report["sites"]] == [part["amax"] for part in report_of(artefact)["sites"]]
    assert same == (calibrator == "percentile")


@pytest.mark.parametrize(("mode", "granularity"), [("1", "channel"), *product("23", ("tensor", "channel"))])
def test_every_mode_and_granularity(bertc: Bertc, place: Place, tmp_path: Path, mode: str, granularity: str) -> None:
    called = bertc(*place.build(tmp_path / "out", "--int8-mode", mode, "--granularity", granularity))
    assert called.code == 0, called.err
    quantization = report_of(tmp_path / "out")["quantization"]
    assert (quantization["mode"], quantization["granularity"]) == (int(mode), granularity)
    assert all(site["reason"] for site in quantization["sites_float"])


@pytest.mark.parametrize("target", ["float", "ort-cpu-dynamic"])
def test_the_references_are_built_and_say_what_they_are(
    bertc: Bertc, place: Place, tmp_path: Path, target: str
) -> None:
    out = tmp_path / "out"
    options = ["--target", target, "--validation-data", place.dev, *ANY_DROP, "--no-cache"]
    called = bertc("build", place.checkpoint, "-o", out, *options)
    assert called.code == 0, "nothing is calibrated, so no text is needed"
    report = report_of(out)
    assert report["engine"]["target"] == target
    assert report["quantization"]["mode"] is None
    assert not report["sites"]
    assert not (out / "calibration.json").exists()
    noted = [text for text in report["warnings"] if "batch" in text and "depend" in text]
    assert bool(noted) == (target == "ort-cpu-dynamic")
    if target == "float":
        assert report["accuracy"]["drop"] == 0
        assert report["accuracy"]["agreement"] == 1
    assert bertc("predict", out, "--text", "a good film").code == 0
    assert bertc("validate", out, "--validation-data", place.dev).code == 0


def test_a_layer_kept_in_float_is_reported(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    assert bertc(*place.build(tmp_path / "out", "--keep-float", "layer.1")).code == 0
    quantization = report_of(tmp_path / "out")["quantization"]
    assert quantization["gemms_int8"] == 6 + 2
    kept = {site["site"] for site in quantization["sites_float"]}
    assert {f"layer.1.{role}" for role in ("hidden", "context", "attention_norm", "gelu")} <= kept
    assert "layer.0.hidden" not in kept
    reasons = {each["gemm"]: each["reason"] for each in report_of(tmp_path / "out")["engine"]["float_gemms"]}
    for name in ("query", "key", "value"):  # written as one product or two
        assert reasons[f"layer.1.{name}"] == "its operand layer.1.hidden is in float: kept in float by the recipe"
    assert not any(name.startswith("layer.0.") for name in reasons)


def test_everything_kept_in_float_is_no_engine_that_loses_anything(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    options = ["--keep-float", "layer.0", "--keep-float", "layer.1", "--max-drop", "0.1%"]
    called = bertc(*place.build(tmp_path / "out", *options))
    assert called.code == 0, called.err
    assert report_of(tmp_path / "out")["quantization"]["gemms_int8"] == 0


def test_a_mode_has_weights_per_channel_or_says_so(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    called = bertc(*place.build(tmp_path / "out", "--int8-mode", "1", "--granularity", "tensor"))
    assert called.code == 2
    assert "per-channel" in called.error


# --- data that is unusual and legal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "code"), [(1, 2), (LEAST_ROWS - 1, 2), (LEAST_ROWS, 0)])
def test_a_handful_of_rows_is_enough_and_fewer_are_refused(
    bertc: Bertc, place: Place, tmp_path: Path, rows: int, code: int
) -> None:
    path = write_labelled(tmp_path / "few.tsv", TEXTS[:rows], ("negative", "positive"))
    called = bertc(*place.build(tmp_path / "out", "--calibration-data", path, "--validation-data", path))
    assert called.code == code, called.err
    if code:
        assert "too few to prove anything" in called.err and not (tmp_path / "out").exists()
    else:
        assert report_of(tmp_path / "out")["accuracy"]["samples"] == rows


def test_the_exit_code_is_the_verdict_by_the_bound(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    path = write_labelled(tmp_path / "few.tsv", TEXTS[:LEAST_ROWS], ("negative", "positive"))
    called = bertc(*place.build(tmp_path / "out", "--validation-data", path, "--max-drop", "1%", "--decide", "bound"))
    assert called.code in (0, 1)
    gate = report_of(tmp_path / "out")["gates"][0]
    assert (gate["verdict"] == "pass") == (called.code == 0)


def test_huge_texts_are_cut_and_counted(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    texts = (*TEXTS[:3], "good " * 20_000, "x" * 100_000, "日本" * 20_000)
    path = write_labelled(tmp_path / "long.tsv", texts, ("negative", "positive"))
    called = bertc(*place.build(tmp_path / "out", "--calibration-data", path, "--validation-data", path))
    assert called.code == 0, called.err
    report = report_of(tmp_path / "out")
    assert report["accuracy"]["truncated"] == 2, "an endless word is one unknown token"
    assert "2 rows were cut to the model's length" in report["warnings"]
    short = bertc(*place.build(tmp_path / "short"))
    assert short.code == 0
    assert not any("cut" in text for text in report_of(tmp_path / "short")["warnings"])


def test_validation_text_that_was_calibrated_on_is_reported(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    shared = write_labelled(tmp_path / "both.tsv", (*TEXTS[:3], *TEXTS[-9:]), ("negative", "positive"))
    assert bertc(*place.build(tmp_path / "out", "--validation-data", shared)).code == 0
    report = report_of(tmp_path / "out")
    assert report["data"]["overlap"] == 3
    assert any(text.startswith("3 of 12 validation rows") for text in report["warnings"])


def test_no_overlap_is_no_warning(artefact: Path) -> None:
    report = report_of(artefact)
    assert report["data"]["overlap"] == 0
    assert not any("validation rows" in text for text in report["warnings"])


def test_unlabelled_data_is_judged_by_the_float_model(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS[-ROWS:]) + "\n", encoding="utf-8")
    options = ["--calibration-data", place.train, "--validation-data", path, "--no-cache"]
    called = bertc("build", place.checkpoint, "-o", tmp_path / "out", *options, "--min-agreement", "0")
    report = report_of(tmp_path / "out")
    assert {"agreement", "divergence"} <= {gate["metric"] for gate in report["gates"]}
    assert (called.code == 0) == report["passed"]
    assert report["accuracy"]["metric"] == "agreement"
    assert any("no labels" in text for text in report["warnings"])
    labelled = bertc("build", place.checkpoint, "-o", tmp_path / "no", *options, "--max-drop", "1%", "--gate", "f1:1%")
    assert labelled.code == 2
    assert "needs labels" in labelled.error


def test_an_unvalidated_build_is_stamped(bertc: Bertc, place: Place, artefact: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--calibration-data", place.train, "--unvalidated", "--no-cache"]
    assert bertc("build", place.checkpoint, "-o", out, *options).code == 0
    report = report_of(out)
    assert (report["unvalidated"], report["passed"], report["accuracy"]) == (True, False, None)
    assert json.loads((out / "manifest.json").read_text())["unvalidated"] is True
    assert "unvalidated" in (out / "report.html").read_text(encoding="utf-8").lower()
    with pytest.warns(UserWarning, match="is unvalidated"), package.load(out) as predictor:
        assert predictor.unvalidated and not predictor.passed
    refused = bertc("validate", out, "--validation-data", place.dev)
    assert refused.code == 2
    assert "--checkpoint" in refused.error
    assert report_of(artefact)["unvalidated"] is False
    with package.load(artefact) as predictor:
        assert predictor.passed and not predictor.unvalidated
