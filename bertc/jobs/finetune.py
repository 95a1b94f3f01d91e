"""Train a checkpoint's INT8 (or sparse) model with a teacher, and write the checkpoint that a build makes an engine of.

checkpoint -> graph -> calibrate -> student -> train -> checkpoint and calibration table
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.artefact.kinds import CHECKPOINT_TARGET, TRAINED
from bertc.artefact.layout import TABLE_FILE, TRAINING_FILE
from bertc.artefact.manifest import Provenance, write_manifest
from bertc.artefact.space import STATE_BYTES, check_space
from bertc.artefact.swap import artefact_folder
from bertc.cache.stages import Work
from bertc.calibrate.carried import source_of_ranges
from bertc.calibrate.table import text_from_table
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.exit_classifiers import checkpoint_with_own_exits
from bertc.checkpoint.kept_layers import spaced_layers
from bertc.checkpoint.kept_width import KeptWidth
from bertc.checkpoint.write import write_checkpoint
from bertc.core.progress import Progress, Silent
from bertc.core.versions import library_versions
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.inputs import Inputs, checkpoint_from_recipe, inputs_from_recipe, length_of_inputs, table_from_inputs
from bertc.jobs.plan import checked_target, plan_from_recipe
from bertc.jobs.smaller import WHOLE, Smaller
from bertc.jobs.training_inputs import (
    TrainingData,
    data_from_recipe,
    losses_from_recipe,
    run_from_recipe,
    teacher_from_recipe,
)
from bertc.prune.pattern import masks_from_graph
from bertc.recipe import Recipe
from bertc.runtime.machine.cpu import cpu_features

if TYPE_CHECKING:
    from bertc.train.distributed import Processes
    from bertc.train.loop import Outcome, Trainer
    from bertc.train.losses import Objective
    from bertc.train.network import Network
    from bertc.train.replace import Replacement
    from bertc.train.student import Student
    from bertc.train.widened import Widened


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What a run did: the content of training.json. `speaks` is false in all processes of a run but the first."""

    report: Mapping[str, Any]
    speaks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folder `out` that a run writes, beside which its state lies until it is whole.

    `resume` goes on from that state. An older training at `out` is hours of work: it is replaced with `force` only.
    """

    out: Path
    resume: bool = False
    force: bool = False


def finetune(recipe: Recipe, place: Place, *, smaller: Smaller = WHOLE, work: Work, command: str) -> Finetuned:
    """Train the recipe's checkpoint, or a `smaller` student of it, and write it.

    Started by torchrun, all processes train together and the first one writes. Raises `InputError` and
    `EnvironmentLackError` before anything slow where that can be known.
    """
    from bertc.train.library import check_torch

    check_torch()
    from bertc.train.distributed import joined_processes
    from bertc.train.state import StateFolder

    if recipe.sparsity.pattern is not None:
        raise InputError("bertc finetune prunes nothing; prune with bertc prune and train its result, zeros stay zeros")
    with joined_processes(recipe.training.device) as processes:
        sink = work.progress if processes.writes else Silent()
        with _output(place, processes, sink) as folder:
            run = _Run(recipe, smaller, processes, Work(work.cache, sink))
            state = StateFolder(place.out.parent / f".{place.out.name}.bertc-state", run.identity)
            if state.exists and not place.resume:
                raise InputError(
                    f"{state.folder} holds an unfinished run; go on with --resume, or remove it to begin again"
                )
            if place.resume and not state.exists:
                sink.note(f"there is no unfinished run in {state.folder}; training begins")
            if folder is not None:
                states = 1 if state.exists else 2  # the last one stays until the next is whole
                check_space(folder, states * STATE_BYTES * run.checkpoint.parameters, "the run")
            outcome = run.train(state, resume=place.resume and state.exists)
            report = run.report(outcome, command)
            if folder is not None:
                report = run.write(folder, report)
        if processes.writes:
            state.remove()
    return Finetuned(report=report, speaks=processes.writes)


@contextmanager
def _output(place: Place, processes: Processes, progress: Progress) -> Iterator[Path | None]:
    """Give the first process the folder to write."""
    if not processes.writes:
        yield None
        return
    with artefact_folder(place.out, kind=TRAINED, force=place.force, progress=progress) as folder:
        yield folder


def refuse_shared_layers(checkpoint: Checkpoint) -> None:
    """Raise `InputError` for a model whose layers have weights in common, which the student would make different."""
    if checkpoint.architecture.shares_layers:
        raise InputError(
            f"{checkpoint.path}: the layers of this model share their weights, and bertc trains only layers that have "
            "their own; train it with transformers, and build that"
        )


class _Run:
    """One run's inputs, read and checked in the order of what is refused soonest, and its student."""

    def __init__(self, recipe: Recipe, smaller: Smaller, processes: Processes, work: Work) -> None:
        from bertc.train.precision import precision_from_name
        from bertc.train.student import check_trainable, student_from_checkpoint

        self.progress = progress = work.progress
        progress.stage("read")
        self.recipe = recipe
        self.processes = processes
        self.created = datetime.now(UTC)
        self.whole: Checkpoint = checkpoint_from_recipe(recipe)
        plain = smaller.checkpoint(self.whole)
        refuse_shared_layers(plain)
        check_trainable(plain)
        early = recipe.training.early_exit
        self.checkpoint = checkpoint_with_own_exits(plain) if early else plain
        checked_target(recipe.engine.target)
        length = length_of_inputs(self.checkpoint, recipe.engine.max_length)
        plan = plan_from_recipe(recipe, self.checkpoint, longest=length)
        scheme = plan.scheme if recipe.training.quantize and not early else None
        # Symmetric and whole, as the trained ranges will be in the build.
        self.scheme = None if scheme is None else replace(scheme, one_sided=False, split_outliers=False)
        if self.scheme is None and recipe.training.quantize and not early:
            raise InputError(f"the target {recipe.engine.target} has no static INT8 to train for; add --float")
        self.data: TrainingData = data_from_recipe(recipe.training, self.checkpoint, length)
        progress.note(f"{self.data.path} is read as {self.data.reading.sentence()}")
        self.width = self._width(smaller)
        if self.width is not None:
            plain = smaller.checkpoint(self.whole, self.width)
            self.checkpoint = checkpoint_with_own_exits(plain) if early else plain
        self.teacher = teacher_from_recipe(recipe.training, plain, self.data, whole=self.whole)
        same = (
            self.scheme is None
            and not early
            and self.teacher is not None
            and self.teacher.digest == self.checkpoint.digest
        )
        self.losses = losses_from_recipe(recipe.training, self.checkpoint, self.data, same=same, progress=progress)
        inputs = self._inputs(length)
        graph = graph_from_checkpoint(self.checkpoint)
        self.masks: Mapping[str, NDArray[Any]] = masks_from_graph(graph)
        self.table = None if self.scheme is None else table_from_inputs(inputs, graph, work=work)
        self.precision = precision_from_name(recipe.training.precision, processes.device, cpu_features().features)
        self.student: Student = student_from_checkpoint(
            self.checkpoint,
            table=self.table,
            scheme=self.scheme,
            method=plan.method,
            learned_scales=recipe.training.learned_scales,
            masks=self.masks,
        )
        if self.checkpoint.exits and not early:
            progress.note("the exits stay as they are while the encoder changes; train them with it: --early-exit")
        if self.masks:
            progress.note(f"{len(self.masks)} GEMMs are 2:4 and stay so")
            if recipe.training.teacher is None and self.teacher is not None:
                progress.note("the teacher is the pruned checkpoint itself; name the dense one with --teacher")

    def _width(self, smaller: Smaller) -> KeptWidth | None:
        """Choose what a narrower student keeps, by the training text; None for one as wide as its teacher."""
        from bertc.train.width import width_from_examples

        if smaller.hidden is None:
            return None
        self.progress.stage("choose the width")
        return width_from_examples(self.whole, smaller.kept_layers(self.whole), smaller.hidden, self.data.examples)

    def _inputs(self, max_length: int) -> Inputs:
        """Read the ranges to start from: those that are named or the checkpoint's own, else those of training text."""
        calibration = self.recipe.calibration
        if calibration.data is None and calibration.table is None and source_of_ranges(self.checkpoint) is None:
            training = self.recipe.training
            calibration = calibration.model_copy(update={"data": training.data, "columns": training.columns})
        recipe = self.recipe.model_copy(update={"calibration": calibration})
        return inputs_from_recipe(recipe, self.checkpoint, self.scheme, max_length=max_length)

    @property
    def identity(self) -> dict[str, str]:
        """What makes this run this run."""
        table = "" if self.table is None else text_from_table(self.table)
        return run_from_recipe(
            self.recipe,
            {
                "the checkpoint": self.checkpoint.digest,
                "the teacher": "" if self.teacher is None else self.teacher.digest,
                "the training data": self.data.digest,
                "the calibration table": hashlib.sha256(table.encode()).hexdigest(),
            },
        )

    def train(self, state: Any, *, resume: bool) -> Outcome:
        """Train the student, which holds the best weights afterwards."""
        trainer = self._trainer(state)
        try:
            return trainer.train(resume=resume)
        except BaseException as error:
            if not isinstance(error, Exception) and state.exists:
                self.progress.note(f"the run's last state is kept in {state.folder}; go on with --resume")
            raise

    def _trainer(self, state: Any) -> Trainer:
        from bertc.train.distributed import use_threads
        from bertc.train.held_out import Evaluation, HeldOut, held_out_objective
        from bertc.train.loop import Lesson, Trainer
        from bertc.train.losses import Objective
        from bertc.train.student import teacher_from_checkpoint

        use_threads(self.recipe.engine.threads)
        device, data = self.processes.device, self.data
        architecture = self.checkpoint.architecture
        taught = architecture.layers if self.teacher is None else self.teacher.architecture.layers
        objective = Objective(
            head=self.checkpoint.head,
            weights=self.losses,
            temperature=self.recipe.training.temperature,
            layers=spaced_layers(architecture.layers, taught),
            scaling=architecture.head_size**-0.5,
            heads=None if self._cut is None else self._cut.heads,
        )
        evaluation, replacement = None, self._replacement()
        if data.held_rows:
            judged = held_out_objective(objective, labelled=data.labelled)
            everything = [tuple(range(len(data.held_examples)))]
            mixed = {} if replacement is None else replacement.step_examples(data.held_examples, everything, 0)
            held = HeldOut(
                rows=data.held_rows, examples=data.held_examples, objective=judged, mixed=tuple(mixed.values())
            )
            evaluation = Evaluation(held, device, self.precision[1])
        lesson = Lesson(
            network=self._learner(objective).to(device),
            teacher=None if self.teacher is None else teacher_from_checkpoint(self.teacher).to(device),
            examples=data.examples,
            objective=objective,
            evaluation=evaluation,
            replacement=replacement,
        )
        return Trainer(
            lesson,
            recipe=self.recipe.training,
            processes=self.processes,
            precision=self.precision[1],
            folder=state,
            progress=self.progress,
        )

    def _learner(self, objective: Objective) -> Network | Widened:
        """Return what is trained: the student's network, with a projection where hidden states are to be wider."""
        from bertc.train.widened import Widened

        names, network = [ours for ours, _ in objective.hidden_pairs()], self.student.network
        if self._cut is None or not names:
            return network
        return Widened(network, names, self._cut.channels, self.whole.architecture.hidden)

    @property
    def _cut(self) -> KeptWidth | None:
        """What the student has of its teacher's width; None where it has all, or learns from another model."""
        return None if self.recipe.training.teacher is not None else self.width

    def _replacement(self) -> Replacement | None:
        """Return how tokens are replaced: not at all where no teacher says what becomes of the text."""
        from bertc.train.replace import Replacement

        share = self.recipe.training.replace
        if self.teacher is None or not share:
            return None
        vocabulary = np.array(self.checkpoint.encoder.ordinary_ids, np.int64)
        return Replacement(share=share, vocabulary=vocabulary, seed=self.recipe.training.seed)

    def report(self, outcome: Outcome, command: str) -> dict[str, Any]:
        """Return what was done."""
        from bertc.train.distributed import facts_of_torch

        recipe, torch = self.recipe, facts_of_torch()
        return {
            "schema": 1,
            "command": command,
            "created": self.created.isoformat(timespec="seconds"),
            "checkpoint": {"path": str(self.whole.path), "digest": self.whole.digest},
            "layers": {"of": self.whole.architecture.layers, "kept": self._kept_layers()},
            "width": self._kept_width(),
            "teacher": None
            if self.teacher is None
            else {"path": str(self.teacher.path), "digest": self.teacher.digest, "held_out": dict(outcome.teacher)},
            "data": {
                "path": self.data.path,
                "digest": self.data.digest,
                "rows": self.data.rows,
                "held_out": len(self.data.held_rows),
                "labelled": self.data.labelled,
                "reading": self.data.reading.as_dict(),
            },
            "recipe": recipe.model_dump(mode="json", include={"quantization", "training", "calibration", "engine"}),
            "losses": self.losses,
            "sparse": sorted(self.masks),
            "planned_steps": outcome.plan.steps,
            "steps": outcome.steps,
            "best_step": outcome.best_step,
            "sentences": outcome.texts,
            "seconds": round(outcome.seconds, 3),
            "sentences_per_second": round(outcome.texts / max(outcome.seconds, 1e-9), 1),
            "curve": list(outcome.curve),
            "precision": self.precision[0],
            "device": str(self.processes.device),
            "processes": self.processes.world,
            "threads": torch["threads"],
            "versions": {**library_versions(), "torch": torch["version"]},
        }

    def _kept_layers(self) -> list[int]:
        architecture = self.checkpoint.architecture
        return list(spaced_layers(architecture.layers, self.whole.architecture.layers))

    def _kept_width(self) -> dict[str, Any] | None:
        width, whole = self.width, self.whole.architecture
        if width is None:
            return None
        of = {"hidden": whole.hidden, "heads": whole.heads, "intermediate": whole.intermediate}
        return {"of": of, "channels": width.channels, "heads": width.heads, "neurons": width.neurons}

    def write(self, folder: Path, report: Mapping[str, Any]) -> dict[str, Any]:
        """Write the trained checkpoint, its ranges and the report; returns the report with the new digest."""
        from bertc.train.student import table_from_student, weights_from_student

        self.progress.stage("write")
        write_checkpoint(self.checkpoint, folder, weights_from_student(self.student))
        digest = checkpoint_from_path(folder, task=self.recipe.task).digest
        if self.scheme is not None:
            table = table_from_student(self.student, checkpoint_digest=digest)
            (folder / TABLE_FILE).write_text(text_from_table(table), encoding="utf-8")
        whole = {**report, "digest": digest}
        (folder / TRAINING_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        made = Provenance(target=CHECKPOINT_TARGET, checkpoint=digest, cpu=cpu_features(), versions=report["versions"])
        write_manifest(folder, made, unvalidated=True)
        return whole
