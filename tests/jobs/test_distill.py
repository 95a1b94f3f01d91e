"""A student of fewer layers and channels: what is written of it, what its engine is compared with, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc.jobs.distill
from bertc.artefact.manifest import verify_artefact
from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.checkpoint import checkpoint_from_path
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.jobs.distill import Distilled, distill
from bertc.jobs.finetune import Place
from bertc.recipe import Recipe, recipe_from_document
from tests.fixtures import write_tiny_bert
from tests.jobs.test_finetune import stop_at
from tests.train.runs import figures, recipe_of, run, weights_of


def student_recipe(teacher: Path, rows: Path, **sections: Any) -> Recipe:
    """Return the recipe of a student of one layer, 5 steps of 10 texts, and of an engine that is judged on its text."""
    document = {
        "checkpoint": str(teacher),
        "student": {"layers": 1, "steps": 5, "batch_size": 10} | sections.pop("student", {}),
        "training": {"data": str(rows), "held_out": 4, "precision": "fp32"} | sections.pop("training", {}),
        "validation": {"data": str(rows), "max_drop": "2abs", "any_reference": True} | sections.pop("validation", {}),
        "engine": {"threads": 1},
    }
    return recipe_from_document({**document, **sections}, "test")


def run_of(recipe: Recipe, out: Path, *, engine: Path | None = None, resume: bool = False) -> Distilled:
    place = Place(out=out, resume=resume)
    return distill(recipe, place, engine=engine, work=Work(StageCache(None), Silent()), command="bertc distill")


def test_a_student_learns_and_says_from_whom(tmp_path: Path, classifier: Path, rows: Path) -> None:
    losses = {"logits": 1.0, "hidden": 1.0, "attention": 1.0}
    done = run_of(student_recipe(classifier, rows, student={"distill": losses}), tmp_path / "student")
    teacher, student = (checkpoint_from_path(path) for path in (classifier, tmp_path / "student"))
    report = json.loads((tmp_path / "student" / "training.json").read_text(encoding="utf-8"))
    assert report == done.trained.report
    assert report["layers"] == {"of": 2, "kept": [1]} and student.architecture.layers == 1
    assert report["digest"] == student.digest
    assert report["teacher"]["digest"] == report["checkpoint"]["digest"] == teacher.digest
    assert 0 <= report["teacher"]["held_out"]["accuracy"] <= 1
    assert report["losses"] == losses and report["steps"] == 5
    assert report["curve"][-1]["held_out_loss"] < report["curve"][0]["held_out_loss"]
    verify_artefact(tmp_path / "student")


LOSSES = {"logits": 1.0, "hidden": 1.0, "attention": 1.0}


@pytest.mark.parametrize(("layers", "kept"), [(1, [1]), (None, [0, 1])])
def test_a_narrower_student_learns_and_says_what_it_kept(
    layers: int | None, kept: list[int], tmp_path: Path, classifier: Path, rows: Path
) -> None:
    narrow = {"layers": layers, "hidden": 32, "distill": LOSSES}
    done = run_of(student_recipe(classifier, rows, student=narrow), tmp_path / "student")
    teacher, student = (checkpoint_from_path(path) for path in (classifier, tmp_path / "student"))
    report = json.loads((tmp_path / "student" / "training.json").read_text(encoding="utf-8"))
    assert report["digest"] == student.digest and done.trained.report["losses"] == LOSSES
    assert report["layers"] == {"of": 2, "kept": kept} and student.architecture.layers == len(kept)
    sizes = (student.architecture.hidden, student.architecture.heads, student.architecture.intermediate)
    assert sizes == (32, 1, 64) and teacher.architecture.hidden == 64
    width = report["width"]
    assert width["of"] == {"hidden": 64, "heads": 2, "intermediate": 128}
    assert [len(width["channels"]), *map(len, width["heads"]), *map(len, width["neurons"])] == (
        [32, *([1] * len(kept)), *([64] * len(kept))]
    )
    assert report["curve"][-1]["train_hidden"] < report["curve"][1]["train_hidden"]
    assert not any("projection" in name for name in weights_of(tmp_path / "student"))
    before = teacher.weights.array("embeddings.word_embeddings.weight")[:, width["channels"]]
    after = student.weights.array("embeddings.word_embeddings.weight")
    assert 0 < np.abs(after - before).max() < 0.1


def test_an_engine_of_a_narrower_student_is_judged_against_the_teacher(
    tmp_path: Path, classifier: Path, rows: Path
) -> None:
    recipe = student_recipe(classifier, rows, student={"hidden": 32}, engine={"threads": 1, "target": "ort-cpu"})
    done = run_of(recipe, tmp_path / "student", engine=tmp_path / "engine")
    assert done.built is not None
    told = json.loads((tmp_path / "engine" / "report.json").read_text(encoding="utf-8"))
    assert told["checkpoint"]["digest"] == checkpoint_from_path(tmp_path / "student").digest
    assert f"the float reference is {classifier}" in told["warnings"]
    verify_artefact(tmp_path / "engine")


@pytest.mark.parametrize("distill", [LOSSES, {"logits": 1.0}])
def test_a_narrower_run_that_is_stopped_ends_as_if_it_had_not_been(
    distill: dict[str, float], tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student_recipe(classifier, rows, student={"hidden": 32, "distill": distill})
    whole = run_of(recipe, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_of(recipe, tmp_path / "student")
    with pytest.raises(InputError, match="is the state of another run: the checkpoint was"):
        run_of(student_recipe(classifier, rows, student={"distill": distill}), tmp_path / "student", resume=True)
    again = run_of(recipe, tmp_path / "student", resume=True)
    assert figures(dict(again.trained.report)) == figures(dict(whole.trained.report))
    before, after = weights_of(tmp_path / "whole"), weights_of(tmp_path / "student")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_hidden_states_of_another_teacher_are_refused(tmp_path: Path, classifier: Path, rows: Path) -> None:
    """Only channels of the checkpoint itself have their place in its states."""
    named = {"student": {"hidden": 32, "distill": {"hidden": 1.0}}, "training": {"teacher": str(classifier)}}
    with pytest.raises(InputError, match="1 of 32 with 1; leave hidden out"):
        run_of(student_recipe(classifier, rows, **named), tmp_path / "student")


def test_a_student_of_no_size_is_refused(tmp_path: Path, classifier: Path, rows: Path) -> None:
    with pytest.raises(InputError, match="its number of layers with --layers, its width with --hidden, or both"):
        run_of(student_recipe(classifier, rows, student={"layers": None}), tmp_path / "student")


def test_without_an_engine_there_is_only_the_student(tmp_path: Path, classifier: Path, rows: Path) -> None:
    recipe = student_recipe(classifier, rows, validation={"data": str(tmp_path / "nowhere.tsv")})
    assert run_of(recipe, tmp_path / "student").built is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student"]


def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student_recipe(classifier, rows)
    whole = run_of(recipe, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_of(recipe, tmp_path / "student")
    assert not (tmp_path / "student").exists()
    with pytest.raises(InputError, match=r"student\.layers|the checkpoint|unfinished run"):
        run_of(recipe, tmp_path / "student")
    again = run_of(recipe, tmp_path / "student", resume=True)
    assert figures(dict(again.trained.report)) == figures(dict(whole.trained.report))
    before, after = weights_of(tmp_path / "whole"), weights_of(tmp_path / "student")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_student_of_other_layers_is_another_run(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = write_tiny_bert(tmp_path / "teacher", layers=3)
    with monkeypatch.context() as patched:
        stop_at(patched, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_of(student_recipe(teacher, rows), tmp_path / "student")
    with pytest.raises(InputError, match="is the state of another run: the checkpoint was"):
        run_of(student_recipe(teacher, rows, student={"layers": 2}), tmp_path / "student", resume=True)


def test_a_student_is_trained_for_int8_as_any_checkpoint(tmp_path: Path, classifier: Path, rows: Path) -> None:
    run_of(student_recipe(classifier, rows), tmp_path / "student")
    report = run(
        recipe_of(tmp_path / "student", rows, teacher=str(classifier), learning_rate=1e-3), tmp_path / "trained"
    )
    assert report["losses"] == {"logits": 1.0, "hidden": 10.0} and (tmp_path / "trained" / "calibration.json").exists()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"validation": {"data": None}}, "no validation data"),
        ({"validation": {"data": "nowhere.tsv"}}, "nowhere.tsv"),
        ({"validation": {"max_drop": "much"}}, "much"),
        ({"validation": {"gates": ["recall[neutral]:0.1abs"]}}, "neutral"),
        ({"quantization": {"keep_float": ["layer.1"]}}, r"layer\.1"),
        ({"calibration": {"data": "nowhere.tsv"}}, "nowhere.tsv"),
        ({"student": {"layers": 2}}, "is no smaller"),
        ({"student": {"hidden": 64}}, "is no narrower"),
        ({"student": {"hidden": 33}}, "no whole heads"),
    ],
)
def test_what_is_wrong_with_the_engine_is_said_before_the_training(
    sections: dict[str, Any], words: str, tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("the training began")

    monkeypatch.setattr(bertc.jobs.distill, "finetune", unexpected)
    with pytest.raises(InputError, match=words):
        run_of(student_recipe(classifier, rows, **sections), tmp_path / "student", engine=tmp_path / "engine")
    assert not list(tmp_path.iterdir())
