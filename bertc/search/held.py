"""The text that the search judges by: rows of the calibration text that neither calibrate nor validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bertc.checkpoint import Checkpoint
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import sample_rows
from bertc.errors import InputError
from bertc.evaluate.gate import Gate, gates_from_options
from bertc.inputs import Encoded, length_from_recipe
from bertc.recipe import Recipe
from bertc.tasks import task_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out rows with their features and, where the text has them, labels; the budget as gates on these rows."""

    encoded: Encoded
    labelled: bool
    gates: tuple[Gate, ...]


def held_out_from_recipe(
    recipe: Recipe, checkpoint: Checkpoint, calibration: Encoded | None, validation: Encoded | None
) -> HeldOut | None:
    """Sample the held-out rows as the calibration rows were, without these and without any row that validates.

    None unless the recipe asks for a search. Raises `InputError` where nothing can be searched: no INT8 scheme, no
    text, or too few rows to tell the budget's drop.
    """
    if not recipe.search.enabled:
        return None
    if calibration is None:
        raise InputError(
            "--search needs a target with static INT8 and calibration text to judge by; name the text with "
            "--calibration-data"
        )
    wanted = recipe.calibration
    assert wanted.data is not None
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(wanted.data, task=task.name, columns=wanted.columns)
    used = {row.hash for source in (calibration, validation) if source is not None for row in source.rows}
    left = tuple(row for row in dataset.rows if row.hash not in used and any(row.texts))
    if not left:
        raise InputError(
            f"{wanted.data}: every row calibrates or validates, none is left for --search to judge by; give more text "
            "or fewer --calibration-samples"
        )
    # Another seed than calibration's, whose keys would take the rows that just missed its sample: the shortest draws.
    rows = sample_rows(replace(dataset, rows=left), recipe.search.rows, seed=wanted.seed + 1)
    rows = task.check_rows(rows, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, length_from_recipe(recipe, checkpoint))
    labelled = task.gold(rows, checkpoint.head) is not None
    gates = _gates(recipe, checkpoint, labelled=labelled)
    _check_enough(wanted.data, len(rows), gates, task.main_fidelity)
    encoded = Encoded(path=wanted.data, digest=dataset.digest, rows=rows, features=tuple(features))
    return HeldOut(encoded=encoded, labelled=labelled, gates=gates)


def _gates(recipe: Recipe, checkpoint: Checkpoint, *, labelled: bool) -> tuple[Gate, ...]:
    """Return the build's gates; on text without labels those that need some bound the fidelity to float instead."""
    task, wanted = task_from_name(checkpoint.head.task), recipe.validation
    gates = gates_from_options(wanted, task, checkpoint.head, labelled=True)
    if labelled:
        return gates
    known = {metric.name for metric in task.fidelity(checkpoint.head)}
    return tuple(dict.fromkeys(g if g.metric in known else Gate(task.main_fidelity, g.limit) for g in gates))


def _check_enough(path: str, rows: int, gates: Sequence[Gate], fidelity: str) -> None:
    """Refuse a budget below one row: the search would leave everything in float and prove nothing."""
    for gate in gates:
        counted = gate.metric == "accuracy" or gate.metric == fidelity == "agreement"
        if counted and 0 < gate.limit.amount * rows < 1:
            raise InputError(
                f"{path}: {rows} held-out rows cannot tell a drop of {gate.limit.text} in {gate.metric}, which needs "
                f"{int(1 / gate.limit.amount) + 1}; give more text, or more --search-rows"
            )
