"""The text that the search judges by: rows of the calibration text that neither calibrate nor validate."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from bertc.core.head import Head
from bertc.data.encoded import Encoded
from bertc.data.rows import Dataset, Row, sample_rows
from bertc.errors import InputError
from bertc.evaluate.gates import Decide, Gate
from bertc.evaluate.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out rows with their features and, where the text has them, labels; the budget as gates on these rows.

    `head` is the checkpoint's as the rows judge it.
    """

    head: Head
    texts: Encoded
    labelled: bool
    gates: tuple[Gate, ...]
    decide: Decide


def held_out_rows(
    dataset: Dataset,
    path: str,
    used: Collection[str],
    *,
    rows: int,
    seed: int,
    unit: Callable[[Row], str] | None = None,
) -> tuple[Row, ...]:
    """Sample `rows` rows, as the calibration rows were with `seed`, without those whose hashes are `used`.

    Where rows are nothing without those of the same `unit`, units are drawn, each with all of its rows that are left,
    until there are as many. Raises `InputError` where none is left.
    """
    left = tuple(row for row in dataset.rows if row.hash not in used and any(row.texts))
    if not left:
        raise InputError(
            f"{path}: every row calibrates or validates, none is left for --search to judge by; give more text or "
            "fewer --calibration-samples"
        )
    if unit is not None:
        return _rows_of_units(left, rows, unit, seed=seed + 1)
    # Another seed than calibration's, whose keys would take the rows that just missed its sample: the shortest draws.
    return sample_rows(replace(dataset, rows=left), rows, seed=seed + 1)


def _rows_of_units(rows: Sequence[Row], most: int, unit: Callable[[Row], str], *, seed: int) -> tuple[Row, ...]:
    units: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        units.setdefault(unit(row), []).append(index)
    chosen: list[int] = []
    for name in random.Random(seed).sample(list(units), len(units)):
        if len(chosen) >= most:
            break
        chosen += units[name]
    return tuple(rows[index] for index in sorted(chosen))


def budget_on_held_out(gates: Sequence[Gate], task: Task, head: Head, *, labelled: bool) -> tuple[Gate, ...]:
    """Return the build's gates; on text without labels those that need some bound the fidelity to float instead."""
    if labelled:
        return tuple(gates)
    known = {metric.name for metric in task.fidelity(head)}
    return tuple(dict.fromkeys(g if g.metric in known else Gate(task.main_fidelity, g.limit) for g in gates))


def counted_gates(gates: Sequence[Gate], fidelity: str) -> tuple[Gate, ...]:
    """Return the gates that some drop may meet, on shares of rows: one row is the least that they can change by."""
    counted = {"accuracy", "exact_match"} | ({fidelity} & {"agreement"})
    return tuple(gate for gate in gates if gate.metric in counted and gate.limit.amount > 0)


def check_enough(path: str, rows: int, gates: Sequence[Gate], fidelity: str) -> None:
    """Refuse a budget below one row: the search would leave everything in float and prove nothing."""
    for gate in counted_gates(gates, fidelity):
        if gate.limit.amount * rows < 1:
            raise InputError(
                f"{path}: {rows} held-out rows cannot tell a drop of {gate.limit.text} in {gate.metric}, which needs "
                f"{int(1 / gate.limit.amount) + 1}; give more text, or more --search-rows"
            )
