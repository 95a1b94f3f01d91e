"""Whole runs on tiny models: what they write, when they stop, how they go on, and what they refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bertc.jobs.training_inputs
from bertc.artefact.manifest import verify_artefact
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import table_from_path
from bertc.checkpoint import checkpoint_from_path
from bertc.core.progress import Silent
from bertc.errors import EnvironmentLackError, InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.prune.pattern import masks_from_graph
from bertc.quantize.insert import quantize_graph
from bertc.train.loop import Trainer
from bertc.train.state import STATE_FILE, StateFolder
from tests.artefacts import Bertc, PathOf
from tests.fixtures import tiny_tensors, write_safetensors, write_tiny_bert
from tests.tiny import engine_scheme, tiny_scheme
from tests.train.runs import figures, recipe_of, run, weights_of

TASKS = (
    "sequence-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
    "late-interaction",
)


class Noted(Silent):
    """Remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Remember a line."""
        self.notes.append(text)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Save after every step, and raise before step number `step` (from 0)."""
    original = Trainer._step

    def stopping(self: Trainer, *arguments: Any) -> None:
        if self.position.step == step:
            raise error
        original(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", stopping)
    monkeypatch.setattr(StateFolder, "due", lambda self: True)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_learns_to_be_its_teacher(task: str, tmp_path: Path, checkpoint_of: PathOf, data_of: PathOf) -> None:
    out = tmp_path / "out"
    distill = {"logits": 1.0, "hidden": 1.0, "attention": 1.0}
    labels = 0.0 if task in ("feature-extraction", "late-interaction") else 0.1
    recipe = recipe_of(checkpoint_of(task), data_of(task), steps=30, learning_rate=1e-3, distill=distill, labels=labels)
    report = run(recipe, out)
    looks = report["curve"]
    assert [look["step"] for look in looks] == [0, 8, 16, 24, 30]
    for loss in (
        "train_hidden",
        "train_attention",
    ):  # first it goes away from the teacher
        assert looks[-1][loss] < 0.8 * max(look[loss] for look in looks[1:])
    assert all(np.isfinite(look["held_out_loss"]) for look in looks)
    verify_artefact(out)
    written = checkpoint_from_path(out)
    assert table_from_path(out / "calibration.json").checkpoint == written.digest == report["digest"]
    assert json.loads((out / "training.json").read_text(encoding="utf-8")) == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_the_build_takes_what_was_trained(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    out = tmp_path / "out"
    run(recipe_of(classifier, rows, learning_rate=1e-3), out)
    options = ("--int8-mode", "2", "--calibration", out / "calibration.json", "--no-cache", "-q")
    data = ("--validation-data", rows, "--max-drop", "2abs")
    called = bertc("build", out, "-o", tmp_path / "engine", *options, *data)
    assert called.code == 0
    called = bertc("build", classifier, "-o", tmp_path / "other", *options, *data)
    assert called.code == 2 and "another checkpoint" in called.err


def test_what_was_trained_is_symmetric_in_its_build(tmp_path: Path, classifier: Path, rows: Path) -> None:
    run(recipe_of(classifier, rows, mode="1"), tmp_path / "out")
    graph = graph_from_checkpoint(checkpoint_from_path(tmp_path / "out"))
    trained = table_from_path(tmp_path / "out" / "calibration.json")
    untrained = replace(trained, overrides={})
    scheme = engine_scheme(tiny_scheme("1"))
    zero_points = [quantize_graph(graph, table, scheme, RangeMethod()).zero_points for table in (trained, untrained)]
    assert not zero_points[0] and zero_points[1]


def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(classifier, rows)
    whole = run(recipe, tmp_path / "whole")
    noted = Noted()
    with monkeypatch.context() as patched:
        stop_at(patched, 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "out", progress=noted)
    assert not (tmp_path / "out").exists() and "go on with --resume" in noted.notes[-1]
    with pytest.raises(InputError, match="unfinished run"):
        run(recipe, tmp_path / "out")
    again = run(recipe, tmp_path / "out", resume=True, progress=noted)
    assert "resumed after step 7 of 12" in noted.notes
    assert figures(again) == figures(whole)
    before, after = weights_of(tmp_path / "whole"), weights_of(tmp_path / "out")
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bertc.recipe import recipe_from_document
from bertc.train.loop import Trainer
from bertc.train.state import StateFolder
from tests.train.runs import run
step = Trainer._step
def killing(self, *arguments):
    if self.position.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *arguments)
Trainer._step = killing
StateFolder.due = lambda self: True
run(recipe_from_document(__import__("json").loads(sys.argv[1]), "test"), Path(sys.argv[2]))
"""


def test_a_killed_process_can_be_resumed(tmp_path: Path, classifier: Path, rows: Path) -> None:
    recipe = recipe_of(classifier, rows)
    arguments = [sys.executable, "-c", KILLED, recipe.model_dump_json(), str(tmp_path / "out")]
    killed = subprocess.run(arguments, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "out").exists()
    again, whole = run(recipe, tmp_path / "out", resume=True), run(recipe, tmp_path / "whole")
    assert figures(again) == figures(whole)
    before, after = weights_of(tmp_path / "whole"), weights_of(tmp_path / "out")
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_another_run_is_not_resumed(
    tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_at(patched, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(recipe_of(classifier, rows), out)
    with pytest.raises(InputError, match=r"training.batch_size was 5 and is now 6"):
        run(recipe_of(classifier, rows, batch_size=6), out, resume=True)
    state = tmp_path / ".out.bertc-state" / STATE_FILE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as the state of a run"):
        run(recipe_of(classifier, rows), out, resume=True)


def test_resume_without_a_state_begins(tmp_path: Path, classifier: Path, rows: Path) -> None:
    noted = Noted()
    report = run(recipe_of(classifier, rows, steps=2), tmp_path / "out", resume=True, progress=noted)
    assert report["steps"] == 2 and any("training begins" in note for note in noted.notes)


def test_training_that_only_harms_stops_and_gives_the_start(tmp_path: Path, classifier: Path, rows: Path) -> None:
    recipe = recipe_of(classifier, rows, learning_rate=0.5, steps=40, evaluations=20, patience=2)
    noted = Noted()
    report = run(recipe, tmp_path / "out", progress=noted)
    assert report["steps"] == 4 and report["best_step"] == 0
    assert noted.notes[-1] == "training stops here: 2 looks without a gain on what is held out (patience 2)"
    before = checkpoint_from_path(classifier).weights
    after = checkpoint_from_path(tmp_path / "out").weights
    assert all(np.allclose(before.array(name), after.array(name), atol=1e-6) for name in before)


def test_without_patience_training_goes_to_its_end(tmp_path: Path, classifier: Path, rows: Path) -> None:
    noted = Noted()
    recipe = recipe_of(classifier, rows, learning_rate=0.5, steps=12, evaluations=6)
    report = run(recipe, tmp_path / "out", progress=noted)
    assert report["steps"] == report["planned_steps"] == 12 and report["best_step"] == 0
    assert not any("stops here" in note for note in noted.notes)


def test_early_stopping_sees_training_data_alone(
    tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(classifier, rows, steps=2)
    recipe = recipe.model_copy(
        update={"validation": recipe.validation.model_copy(update={"data": str(tmp_path / "secret.tsv")})}
    )
    opened: list[str] = []
    original = bertc.jobs.training_inputs.dataset_from_path

    def spying(path: str, **options: Any) -> Any:
        opened.append(path)
        return original(path, **options)

    monkeypatch.setattr(bertc.jobs.training_inputs, "dataset_from_path", spying)
    report = run(recipe, tmp_path / "out")
    assert opened == [str(rows)] and report["data"]["held_out"] == 4


def test_without_anything_held_out_the_last_state_is_the_result(tmp_path: Path, classifier: Path, rows: Path) -> None:
    report = run(recipe_of(classifier, rows, held_out=0, epochs=0.5, steps=None), tmp_path / "out")
    assert report["steps"] == report["best_step"] == 5 and report["data"]["held_out"] == 0
    assert "held_out_loss" not in report["curve"][-1]


def test_a_time_becomes_a_number_of_steps(tmp_path: Path, classifier: Path, rows: Path) -> None:
    recipe = recipe_of(classifier, rows, steps=None, minutes=0.02, evaluations=1, patience=1)
    report = run(recipe, tmp_path / "out")
    assert report["planned_steps"] == report["steps"] >= 1


def write_sparse(path: Path) -> Path:
    """Write a checkpoint whose encoder GEMMs are 2:4, the same as `write_tiny_bert` otherwise."""
    write_tiny_bert(path)
    sizes = json.loads((path / "config.json").read_text(encoding="utf-8"))
    tensors = tiny_tensors("sequence-classification", sizes, scores=2)
    for name, array in tensors.items():
        if ".layer." in name and array.ndim == 2:
            array.reshape(-1, 4)[:, :2] = 0
    write_safetensors(path / "model.safetensors", tensors, "float32")
    return path


@pytest.mark.parametrize("scheme", [None, ("1", "channel"), ("2", "channel"), ("2", "tensor")])
def test_sparse_weights_stay_sparse_and_learn_from_the_dense_model(
    tmp_path: Path, classifier: Path, rows: Path, scheme: tuple[str, str] | None
) -> None:
    sparse = write_sparse(tmp_path / "sparse")
    recipe = recipe_of(sparse, rows, teacher=str(classifier), quantize=scheme is not None, learning_rate=1e-3)
    if scheme is not None:
        wanted = recipe.quantization.model_copy(update=dict(zip(("mode", "granularity"), scheme, strict=True)))
        recipe = recipe.model_copy(update={"quantization": wanted})
    report = run(recipe, tmp_path / "out")
    assert len(report["sparse"]) == 12 and report["best_step"] > 0
    masks = masks_from_graph(graph_from_checkpoint(checkpoint_from_path(tmp_path / "out")))
    assert sorted(masks) == report["sparse"]
    assert (tmp_path / "out" / "calibration.json").exists() is (scheme is not None)


def test_a_float_model_does_not_learn_from_itself(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(InputError, match="copy of its teacher"):
        run(recipe_of(write_sparse(tmp_path / "sparse"), rows, quantize=False), tmp_path / "none")


def test_a_loss_that_is_no_number_is_one_sentence(tmp_path: Path, classifier: Path, rows: Path) -> None:
    with pytest.raises(InputError, match=r"not a number .*--learning-rate"):
        run(recipe_of(classifier, rows, learning_rate=1e30, warmup=0.0), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_before_training(
    tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(EnvironmentLackError, match="the disk is full"):
        run(recipe_of(classifier, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unlabelled_rows_learn_from_the_teacher_and_from_nobody_else(tmp_path: Path, classifier: Path) -> None:
    text = tmp_path / "rows.txt"
    text.write_text("".join(f"the film {number} was good\n" for number in range(30)), encoding="utf-8")
    noted = Noted()
    report = run(recipe_of(classifier, text, labels=1.0, steps=2), tmp_path / "out", progress=noted)
    assert report["losses"] == {"logits": 1.0, "hidden": 10.0} and any("no labels" in note for note in noted.notes)
    for distill in ({}, {"hidden": 1.0}):
        with pytest.raises(InputError, match="has no labels"):
            run(recipe_of(classifier, text, labels=1.0, distill=distill), tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("text\tlabel\n", "no row"),
        ("text\tlabel\ngood\t1\n", "nothing is left to train on"),
        ("text\tlabel\ngood\tweird\nbad\t0\n", "does not know the label 'weird'"),
        ("text\tlabel\ngood\t1\nbad\t\n", "has no label though"),
    ],
)
def test_bad_data_is_refused(tmp_path: Path, classifier: Path, content: str, words: str) -> None:
    data = tmp_path / "train.tsv"
    data.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        run(recipe_of(classifier, data), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.tsv"]


def test_a_teacher_that_cannot_teach_is_refused(tmp_path: Path, classifier: Path, rows: Path) -> None:
    for name, sizes, words in (
        ("shallow", {"layers": 1}, "has 1 layers"),
        ("wide", {"layers": 3, "hidden": 96}, "has 3 layers of 96"),
    ):
        other = write_tiny_bert(tmp_path / name, **sizes)
        with pytest.raises(InputError, match=words):
            run(recipe_of(classifier, rows, teacher=str(other)), tmp_path / "none")
        outputs = {"teacher": str(other), "distill": {"logits": 1.0}, "steps": 1}
        assert run(recipe_of(classifier, rows, **outputs), tmp_path / f"of-{name}")
    deep = write_tiny_bert(tmp_path / "deep", layers=3)
    assert run(recipe_of(classifier, rows, teacher=str(deep), steps=1), tmp_path / "out")["losses"]["hidden"]
    other = write_tiny_bert(tmp_path / "other", labels=("good", "bad"))
    with pytest.raises(InputError, match="same task"):
        run(recipe_of(classifier, rows, teacher=str(other)), tmp_path / "none")
    words = [*("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), *"abcdefghij"]
    with pytest.raises(InputError, match="other tokens"):
        run(
            recipe_of(classifier, rows, teacher=str(write_tiny_bert(tmp_path / "words", vocab=words))),
            tmp_path / "none",
        )
    assert not (tmp_path / "none").exists()
