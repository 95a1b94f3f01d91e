"""Early exit from training to an engine: what is written, measured and served, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bertc as library
from bertc.artefact.manifest import read_manifest
from bertc.checkpoint import checkpoint_from_path
from bertc.cli.main import run
from bertc.core.batch import batch_from_features
from bertc.core.exits import LAYERS
from bertc.data.rows import Row, row_from_texts
from bertc.evaluate.gates import ROUNDING
from bertc.jobs.exit_threshold import Scores, largest_threshold
from bertc.report.html.page import html_from_report
from bertc.report.schema import report_from_json
from tests.artefacts import Bertc, PathOf
from tests.train.runs import recipe_of
from tests.train.runs import run as run_recipe

pytestmark = pytest.mark.native
RELAXED = ("--max-drop", "2abs", "--any-reference", "--no-cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, classifier: Path, rows: Path) -> Path:
    """A tiny classifier with an exit behind its first layer."""
    out = tmp_path_factory.mktemp("early") / "trained"
    options = ["--early-exit", "--steps", "12", "--learning-rate", "1e-3", "--labels", "1", "--held-out", "0"]
    assert run(["finetune", str(classifier), "--train-data", str(rows), "-o", str(out), *options, "-q"]) == 0
    return out


def options_of(rows: Path) -> tuple[object, ...]:
    return ("--calibration-data", rows, "--calibration-samples", 24, "--validation-data", rows, *RELAXED)


def test_exits_are_trained_beside_the_last_classifier(trained: Path, classifier: Path) -> None:
    checkpoint, before = checkpoint_from_path(trained), checkpoint_from_path(classifier)
    assert [each.layer for each in checkpoint.exits] == [0]
    learnt = checkpoint.weights.array("encoder.highway.0.classifier.weight")
    assert not np.array_equal(learnt, before.weights.array("classifier.weight"))
    report = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert report["losses"] == {"logits": 1.0, "labels": 1.0}


@pytest.mark.parametrize("early", [True, False])
def test_while_training_each_exit_is_measured_on_what_is_held_out(
    early: bool, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    fields = {"early_exit": early, "distill": {"logits": 1.0}, "labels": 1.0, "steps": 2}
    curve = run_recipe(recipe_of(classifier, rows, **fields), tmp_path / "out")["curve"]
    measured = [name for name in curve[-1] if name.startswith("held_out_accuracy")]
    assert measured == ["held_out_accuracy", "held_out_accuracy_1"][: 1 + early]
    assert all(0 <= curve[-1][name] <= 1 for name in measured)


@pytest.mark.parametrize(("early", "has_exits"), [(False, True), (True, True), (False, False)])
def test_exits_that_are_not_trained_with_the_encoder_are_told(
    early: bool, has_exits: bool, trained: Path, classifier: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    options = ("--train-data", rows, "--steps", 1, "--held-out", 0, "--labels", 1, "--distill", "none")
    start = trained if has_exits else classifier
    called = bertc("finetune", start, "-o", tmp_path / "out", *options, "--early-exit" if early else "--float")
    assert called.code == 0, called.err
    assert ("the exits stay as they are" in called.err) == (has_exits and not early)


@pytest.mark.parametrize("part", ["exit", "encoder"])
def test_exits_and_encoder_have_rates_of_their_own(part: str, classifier: Path, rows: Path, tmp_path: Path) -> None:
    """What has a rate of nothing to speak of stays where it is."""
    rates = {"exit_rate": 1e-12, "learning_rate": 1e-12, "exit_rate" if part == "exit" else "learning_rate": 1e-2}
    fields = {"early_exit": True, "distill": {"logits": 1.0}, "labels": 1.0, "steps": 3, "held_out": 0}
    run_recipe(recipe_of(classifier, rows, **fields, **rates), tmp_path / "out")
    names = {
        "exit": [(f"encoder.highway.0.{name}", name) for name in ("pooler.dense.weight", "classifier.weight")],
        "encoder": [(name, name) for name in ("encoder.layer.0.output.dense.weight", "classifier.weight")],
    }
    found, before = (checkpoint_from_path(path).weights for path in (tmp_path / "out", classifier))
    moved = {
        each: max(float(np.abs(found.array(ours) - before.array(start)).max()) for ours, start in pairs)
        for each, pairs in names.items()
    }
    (still,) = {*names} - {part}
    assert moved[part] > 1e-4
    assert moved[still] < 1e-6


def test_an_engine_lets_texts_leave_and_says_what_that_brings(
    trained: Path, classifier: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    out = tmp_path / "engine"
    options = ("--exit-threshold", "0.9", "--reference", classifier)
    built = bertc("build", trained, "-o", out, *options_of(rows), *options)
    assert built.code == 0, built.err
    assert "below 0.9 texts leave" in built.out + built.err
    report = report_from_json((out / "report.json").read_bytes())
    part = report.early_exit
    assert part is not None and part.labelled
    assert part.chosen.threshold == 0.9
    assert sum(part.layers.values()) == part.rows == 48
    assert part.chosen.layers == pytest.approx((part.layers["1"] + 2 * part.layers["2"]) / 48)
    assert "Behind which layer texts left" in html_from_report(report)
    assert read_manifest(out).exit_threshold == 0.9
    assert bertc("validate", out, "--validation-data", rows, "--max-drop", "2abs", "--any-reference").code == 0
    other = bertc(
        "validate", out, "--validation-data", rows, "--checkpoint", trained, "--max-drop", "2abs", "--any-reference"
    )
    assert other.code == 0, other.err
    with library.load(out, threads=1) as model:
        assert model.head.exit_threshold == 0.9
        features = model.features_from_rows(texts_of(rows))
        batch = batch_from_features(features, range(len(features)))
        logits, layers = model.run_batch(batch, ("logits", LAYERS))
        assert set(layers) <= {1.0, 2.0}
        assert np.isfinite(logits).all()
        assert model.predict("a good film")[0] is not None


def texts_of(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [row_from_texts(line.split("\t")[0]) for line in lines]


def test_without_a_threshold_the_last_classifier_answers_on_every_target(
    trained: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    out = tmp_path / "engine"
    built = bertc("build", trained, "-o", out, *options_of(rows), "--target", "float")
    assert built.code == 0, built.err
    assert report_from_json((out / "report.json").read_bytes()).early_exit is None
    assert read_manifest(out).exit_threshold is None


@pytest.mark.parametrize("early", [("--exit-drop", "0.9"), ()])
def test_without_validation_the_threshold_that_was_chosen_is_told(
    early: tuple[str, ...], trained: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    data = ("--calibration-data", rows, "--calibration-samples", 24, "--unvalidated", "--no-cache")
    built = bertc("build", trained, "-o", tmp_path / "engine", *data, *early)
    assert built.code == 0, built.err
    chosen = read_manifest(tmp_path / "engine").exit_threshold
    assert (chosen is not None) == bool(early) == ("texts leave" in built.err)
    assert not early or f"early exit: below {chosen:g} texts leave" in built.err


@pytest.mark.parametrize(
    "options, told",
    [
        (("--exit-threshold", "0.5", "--target", "ort-cpu"), "the target ort-cpu computes all layers of all texts"),
        (("--exit-threshold", "0.5", "--target", "auto-cpu"), "early exit runs on the target native alone"),
        (("--exit-threshold", "0.5", "--search"), "--search judges the last layer's answers alone"),
        (("--exit-threshold", "0.5", "--exit-drop", "0.01"), "threshold and drop exclude each other"),
        (("--exit-threshold", "1.5"), "1.5"),
        (("--exit-drop", "0"), "0"),
        (("--exit-drop", "0.01", "--calibration-samples", "48"), "none is left for --exit-drop to choose by"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    options: tuple[str, ...], told: str, trained: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    refused = bertc("build", trained, "-o", tmp_path / "engine", *options_of(rows), *options)
    assert refused.code == 2
    assert told in refused.err


def test_a_checkpoint_without_exits_has_no_threshold(
    classifier: Path, rows: Path, tmp_path: Path, bertc: Bertc
) -> None:
    refused = bertc("build", classifier, "-o", tmp_path / "engine", *options_of(rows), "--exit-threshold", "0.5")
    assert refused.code == 2
    assert "has no classifiers behind earlier layers" in refused.err


@pytest.mark.parametrize(
    "task, options, told",
    [
        ("sequence-classification", ("--distill", "hidden"), "early_exit changes what hidden would keep"),
        ("token-classification", (), "early exit needs a text classifier"),
    ],
)
def test_training_that_cannot_be_is_refused(
    task: str,
    options: tuple[str, ...],
    told: str,
    checkpoint_of: PathOf,
    data_of: PathOf,
    tmp_path: Path,
    bertc: Bertc,
) -> None:
    data = data_of(task)
    out = tmp_path / "out"
    refused = bertc("finetune", checkpoint_of(task), "--train-data", data, "-o", out, "--early-exit", *options)
    assert refused.code == 2
    assert told in refused.err


def scores_of(rows: int = 400) -> Scores:
    """Two exits that are the righter the more certain they are, and a last classifier."""
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 2, rows)
    certainty = generator.uniform(0, 4, (rows, 3))
    right = generator.uniform(0, 1, (rows, 3)) < np.array([0.5, 0.6, 0.8]) + certainty * np.array([0.1, 0.09, 0.04])
    sign = np.where(right, 1, -1) * np.where(gold == 1, 1, -1)[:, None]
    logits = np.stack([-certainty * sign, certainty * sign], -1).astype(np.float32)
    return Scores(scores=logits, gold=gold)


@pytest.mark.parametrize("drop", [0.005, 0.02, 0.1])
def test_the_largest_threshold_keeps_to_the_drop(drop: float) -> None:
    scores = scores_of()
    chosen = largest_threshold(scores, drop)
    assert scores.accuracy_of_last - scores.accuracy(chosen) <= drop + ROUNDING
    assert chosen == 1.0 or scores.accuracy_of_last - scores.accuracy(chosen + 0.01) > drop + ROUNDING
    assert scores.layers(chosen, (1, 2, 3)) <= scores.layers(0.0, (1, 2, 3)) == 3


def test_a_threshold_may_lose_exactly_the_drop() -> None:
    """0.9 - 0.8 is 0.09999999999999998, and 0.8 - 0.7 is 0.10000000000000009."""
    gold = np.zeros(10, np.int64)
    for right in range(2, 11):
        last, early = np.full((10, 2), (9.0, 0.0), np.float32), np.full((10, 2), (1.0, 0.0), np.float32)
        last[right:] = last[right:, ::-1]
        early[right - 1 :] = early[right - 1 :, ::-1]
        scores = Scores(scores=np.stack([early, last], axis=1), gold=gold)
        assert largest_threshold(scores, 0.1) == 1.0
        assert largest_threshold(scores, 0.099) < 1.0


def test_without_labels_the_last_classifier_is_what_counts() -> None:
    scores = Scores(scores=scores_of().scores, gold=None)
    assert scores.accuracy_of_last == 1.0
    assert 0.5 < scores.accuracy(1.0) < 1.0
    assert scores.accuracy(0.0) == 1.0
