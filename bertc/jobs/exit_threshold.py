"""Early exit in a build: the threshold, chosen on calibration text that does not calibrate, and what it brings.

All classifiers' scores on a text give every threshold's accuracy at once, because what a text is answered does not
depend on when others leave. Speed is measured on the engines themselves, side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint
from bertc.checkpoint.exit_classifiers import checkpoint_with_exits
from bertc.core.exits import LAYERS, leaving_layers
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import output_names
from bertc.data.dataset import dataset_from_path
from bertc.data.encoded import Encoded
from bertc.data.rows import sample_rows
from bertc.errors import InputError
from bertc.evaluate.gates import ROUNDING
from bertc.ir.early_exit import let_texts_leave, without_exits
from bertc.jobs.inputs import Inputs
from bertc.jobs.plan import Plan
from bertc.recipe import Recipe
from bertc.report.choice import ExitPart, ExitPoint
from bertc.runtime.batch_plan import planned_batches
from bertc.runtime.engine import TOKENS_PER_BATCH, Engine
from bertc.runtime.latency import time_calls
from bertc.tasks import checked_rows, layout_from_head, outputs_from_head, task_from_name

HELD_OUT_ROWS = 4096
GRID = tuple(step / 100 for step in range(1, 101))
"""Thresholds that are tried; the uncertainty is at most 1."""

SHOWN = (0.1, 0.2, 0.4, 0.6, 0.8)
TIMED_TEXTS = 256
ROUNDS = 3

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What every classifier says of a text: [texts, exits + 1, scores], the last layer's last; gold ids or None."""

    scores: Array
    gold: NDArray[np.int64] | None

    @property
    def accuracy_of_last(self) -> float:
        """The share of texts that the last classifier gets right (1 without labels: it is what is compared with)."""
        return float(self._right(self.scores[:, -1]).mean())

    def accuracy(self, threshold: float) -> float:
        """Return the share of texts that are right, or without labels as the last classifier has them."""
        exits = leaving_layers(self.scores[:, :-1], threshold)
        return float(self._right(self.scores[np.arange(len(exits)), exits]).mean())

    def layers(self, threshold: float, numbers: Sequence[int]) -> float:
        """Return the mean number of layers; `numbers` are those computed up to each classifier."""
        return float(np.asarray(numbers)[leaving_layers(self.scores[:, :-1], threshold)].mean())

    def _right(self, scores: Array) -> NDArray[np.bool_]:
        wanted = self.scores[:, -1].argmax(-1) if self.gold is None else self.gold
        return np.asarray(scores.argmax(-1) == wanted)


def checkpoint_for_recipe(recipe: Recipe, checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its exits where the recipe wants texts to leave, as it is otherwise.

    Raises `InputError` for a checkpoint without exits, and with a search, which judges the last layer alone.
    """
    if not recipe.early_exit.wanted:
        return checkpoint
    if not checkpoint.exits:
        raise InputError(
            f"{checkpoint.path} has no classifiers behind earlier layers for texts to leave at; train them with `bertc "
            "finetune --early-exit`, or build without --exit-threshold and --exit-drop"
        )
    if recipe.search.enabled:
        raise InputError(
            "--search judges the last layer's answers alone; search first, then build the scheme that it finds with "
            "early exit"
        )
    return checkpoint_with_exits(checkpoint)


def plain_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose head is the last layer's alone."""
    return replace(checkpoint, head=checkpoint.head.without_exits)


def checkpoint_with_threshold(checkpoint: Checkpoint, threshold: float | None) -> Checkpoint:
    """Return the checkpoint as an engine serves it: its texts leave below the threshold."""
    return replace(checkpoint, head=replace(checkpoint.head, exit_threshold=threshold))


def check_exits(plan: Plan, recipe: Recipe) -> None:
    """Raise `InputError` where the target computes all layers of all texts."""
    if recipe.early_exit.wanted and not plan.target.lets_texts_leave:
        raise InputError(
            f"the target {plan.target.name} computes all layers of all texts; build early exit with --target native"
        )


def exit_texts_from_recipe(recipe: Recipe, inputs: Inputs) -> Encoded | None:
    """Read rows of the calibration text that neither calibrate nor validate, where a threshold is to be chosen.

    Raises `InputError` where there is no such text.
    """
    if recipe.early_exit.drop is None:
        return None
    path = recipe.calibration.data
    if path is None:
        raise InputError(
            "--exit-drop chooses the threshold on calibration text; name it with --calibration-data, or give "
            "--exit-threshold"
        )
    checkpoint = inputs.checkpoint
    dataset = dataset_from_path(path, layout=layout_from_head(checkpoint.head), columns=recipe.calibration.columns)
    texts = [each.rows for each in (inputs.calibration, None if inputs.proof is None else inputs.proof.texts) if each]
    used = {row.hash for rows in texts for row in rows}
    left = tuple(row for row in dataset.rows if row.hash not in used and any(row.texts))
    if not left:
        raise InputError(
            f"{path}: every row calibrates or validates, none is left for --exit-drop to choose by; give more text, or "
            "--exit-threshold"
        )
    sample = sample_rows(replace(dataset, rows=left), HELD_OUT_ROWS, seed=recipe.calibration.seed + 1)
    task = task_from_name(checkpoint.head.task)
    rows = checked_rows(task, sample, checkpoint.head, checkpoint.encoder)
    features = task.features_from_rows(rows, checkpoint.encoder, inputs.max_length)
    return Encoded(
        path=path, digest=dataset.digest, rows=tuple(rows), features=tuple(features), max_length=inputs.max_length
    )


def scores_of_texts(engine: Engine, texts: Encoded, head: Head) -> Scores:
    """Run an engine that gives out all classifiers' scores."""
    last, *exits = output_names(outputs_from_head(head))
    found = values_of_texts(engine, texts.features, (*exits, last))
    return Scores(scores=np.stack(found, axis=1), gold=task_from_name(head.task).gold(texts.rows, head))


def values_of_texts(engine: Engine, features: Sequence[Feature], names: Sequence[str]) -> list[Array]:
    """Return outputs per text, [texts, ...] each, in the texts' order."""
    found: list[Array] = []
    for batch in planned_batches(features, TOKENS_PER_BATCH, row_length=None):
        values = engine.run(batch, names)
        found = found or [np.zeros((len(features), *value.shape[1:]), np.float32) for value in values]
        for place, value in enumerate(values):
            found[place][list(batch.order)] = value
    return found


def largest_threshold(scores: Scores, drop: float) -> float:
    """Return the largest threshold of the grid up to which none loses more than `drop` of the accuracy; 0 for none."""
    chosen = 0.0
    for threshold in GRID:
        if scores.accuracy_of_last - scores.accuracy(threshold) > drop + ROUNDING:
            break
        chosen = threshold
    return chosen


def chosen_threshold(recipe: Recipe, plan: Plan, inputs: Inputs, lowered: ir.Model, scratch: Path) -> float:
    """Return the threshold that was given, or the largest that loses no more than is allowed on held-out text.

    `lowered` is the target's graph, which gives out the scores of all classifiers.
    """
    if recipe.early_exit.threshold is not None:
        return recipe.early_exit.threshold
    drop, texts = recipe.early_exit.drop, inputs.exit_texts
    assert drop is not None and texts is not None
    folder = scratch / "exits"
    folder.mkdir()
    with plan.target.written_model(lowered, folder).opened(threads=plan.threads) as engine:
        scores = scores_of_texts(engine, texts, inputs.checkpoint.head)
    return largest_threshold(scores, drop)


def exit_part(plan: Plan, inputs: Inputs, lowered: ir.Model, threshold: float, scratch: Path) -> ExitPart | None:
    """Measure accuracy, layers and speed at some thresholds on validation text; None without such text."""
    if inputs.proof is None:
        return None
    texts, head = inputs.proof.texts.sample(), inputs.checkpoint.head
    features = texts.features[:TIMED_TEXTS]
    thresholds = sorted({*SHOWN, threshold})
    graphs = {"none": without_exits(lowered), "all": lowered}
    graphs |= {f"{each:g}": let_texts_leave(lowered, each) for each in thresholds}
    numbers = [each.layer + 1 for each in head.exits] + [inputs.checkpoint.architecture.layers]
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name, graph in graphs.items():
            folder = scratch / f"exit-{name}"
            folder.mkdir()
            model = plan.target.written_model(graph, folder)
            engines[name] = stack.enter_context(model.opened(threads=plan.threads))
        scores = scores_of_texts(engines.pop("all"), texts, head)
        calls = {name: [partial(values_of_texts, engine, features, ("logits",))] for name, engine in engines.items()}
        seconds = {name: median(turn[0] for turn in turns) for name, turns in time_calls(calls, ROUNDS).items()}
        (left,) = values_of_texts(engines[f"{threshold:g}"], texts.features, (LAYERS,))
    speed = {name: len(features) / each for name, each in seconds.items()}
    counts = np.bincount(left.astype(np.int64) - 1, minlength=len(numbers))
    return ExitPart(
        threshold=threshold,
        rows=len(texts.rows),
        labelled=scores.gold is not None,
        texts_per_second_without=speed["none"],
        accuracy_without=scores.accuracy_of_last,
        points=tuple(
            ExitPoint(
                threshold=each,
                accuracy=scores.accuracy(each),
                layers=scores.layers(each, numbers),
                texts_per_second=speed[f"{each:g}"],
            )
            for each in thresholds
        ),
        layers={str(number): int(count) for number, count in zip(numbers, counts, strict=True)},
    )
