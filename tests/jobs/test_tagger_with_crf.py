"""A tagger with a CRF from its checkpoint to its answers: what decides in float and INT8, and what training keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc as package
from bertc.artefact.layout import HEAD_FILE
from bertc.checkpoint import checkpoint_from_path
from bertc.cli.main import run as run_command
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.chain import best_tags, chain_from_head
from bertc.jobs.predict import head_from_document
from tests.artefacts import Bertc, PathOf
from tests.fixtures import tiny_sentence
from tests.tiny_crf import NAMES, write_tiny_crf
from tests.train.runs import recipe_of, run, weights_of

TASK = "token-classification"
TEXTS = [tiny_sentence(seed, 3 + seed % 7) for seed in range(12)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tagger with a constrained CRF over words."""
    return write_tiny_crf(tmp_path_factory.mktemp("crf"), crf_over="words", crf_constrained=True)


@pytest.fixture(scope="module")
def built(checkpoint: Path, data_of: PathOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its artefact, with packed rows."""
    out, rows = tmp_path_factory.mktemp("artefact") / "out", str(data_of(TASK))
    options = ["--target", "ort-cpu", "--max-drop", "2abs", "--any-reference", "--no-cache", "-q"]
    data = ["--calibration-data", rows, "--validation-data", rows]
    assert run_command(["build", str(checkpoint), "-o", str(out), *data, *options]) == 0
    return out


def test_the_head_travels_in_the_artefact_and_decides_on_the_tags(built: Path, checkpoint: Path) -> None:
    with package.load(built, threads=1) as model:
        assert model.head == checkpoint_from_path(checkpoint).head
        answers = model.predict(TEXTS)
        words = [tuple(answer["words"]) for answer in answers if answer]
        rows = model.task.check_rows([row_from_texts(" ".join(each), words=each) for each in words], model.head)
        features = model.features_from_rows(rows)
        logits = model.run_features(features)["logits"]
        scores = [values[feature.detail["first"]] for values, feature in zip(logits, features, strict=True)]
        labels = model.head.labels
        decided = [[labels[tag] for tag in tags] for tags in best_tags(chain_from_head(model.head), scores)]
    assert [answer["tags"] for answer in answers if answer] == decided
    alone = [[labels[tag] for tag in values.argmax(-1)] for values in scores]
    assert decided != alone, "the CRF changes something, or nothing was tested"
    pairs = [pair for tags in decided for pair in zip(["O", *tags], tags, strict=False)]
    assert ("O", "I-person") not in pairs and ("B-person", "I-person") in pairs


def test_the_report_the_rows_and_a_validation_count_what_is_decided(
    built: Path, checkpoint: Path, data_of: PathOf, bertc: Bertc
) -> None:
    report = json.loads((built / "report.json").read_text(encoding="utf-8"))
    data = ("--validation-data", data_of(TASK), "--checkpoint", checkpoint)
    called = bertc("validate", built, *data, "--max-drop", "2abs", "--any-reference", "--json")
    assert called.code == 0, called.err
    again: Any = called.json
    assert again["accuracy"]["engine"] == report["accuracy"]["engine"]
    assert again["accuracy"]["agreement"] == report["accuracy"]["agreement"]
    with package.load(built, threads=1) as model:
        tags = [tuple(answer["tags"]) for answer in model.predict(TEXTS) if answer]
    assert len(set(tags)) > 1


def test_inspect_names_it(built: Path, checkpoint: Path, bertc: Bertc) -> None:
    for place in (checkpoint, built):
        head: Any = bertc("inspect", place, "--json").json["head"]
        assert head["crf"]["over"] == "words" and head["crf"]["constrained"]
        assert bertc("inspect", place).code == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"transitions": [[0.0, 1.0]]},
        {"start": None},
        {"over": "pieces"},
        {"end": ["much", 0.0, 0.0]},
        [],
    ],
    ids=str,
)
def test_a_description_of_no_crf_is_refused(built: Path, broken: Any) -> None:
    head = json.loads((built / HEAD_FILE).read_text(encoding="utf-8"))["head"]
    assert head_from_document(head, built).crf is not None
    crf = broken if isinstance(broken, list) else head["crf"] | broken
    with pytest.raises(InputError, match="describes no head"):
        head_from_document(head | {"crf": crf}, built)


def test_training_lowers_the_loss_of_the_sequences_and_keeps_the_crf(
    tmp_path: Path, checkpoint: Path, data_of: PathOf
) -> None:
    recipe = recipe_of(checkpoint, data_of(TASK), steps=24, learning_rate=3e-3, labels=1.0)
    looks = run(recipe, tmp_path / "out")["curve"]
    assert looks[-1]["train_labels"] < looks[1]["train_labels"]
    assert checkpoint_from_path(tmp_path / "out").head == checkpoint_from_path(checkpoint).head
    before, after = weights_of(checkpoint), weights_of(tmp_path / "out")
    assert all(np.array_equal(before[name], after[name]) for name in NAMES["pytorch-crf"])
    assert not np.array_equal(before["classifier.weight"], after["classifier.weight"])


def test_a_teacher_whose_scores_belong_to_another_crf_is_refused(
    tmp_path: Path, checkpoint: Path, data_of: PathOf, checkpoint_of: PathOf
) -> None:
    recipe = recipe_of(checkpoint, data_of(TASK), teacher=str(checkpoint_of(TASK)), distill={"logits": 1.0})
    with pytest.raises(InputError, match="belong to another CRF"):
        run(recipe, tmp_path / "out")
    other = write_tiny_crf(tmp_path / "other", crf_over="tokens", crf_constrained=True)
    with pytest.raises(InputError, match="belong to another CRF"):
        run(recipe_of(checkpoint, data_of(TASK), teacher=str(other), distill={"logits": 1.0}), tmp_path / "out")
