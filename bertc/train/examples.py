"""Rows to examples: every feature with the truth about it, and a seeded part of the data that is held out.

In come checked rows and features; nothing here reads files or knows torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.rows import Row
from bertc.evaluate.task import Task
from bertc.tasks import task_from_name


def examples_from_rows(rows: Sequence[Row], features: Sequence[Feature], head: Head) -> tuple[Example, ...]:
    """Pair every feature with the truth about its row; rows without labels give examples without `gold`."""
    task = task_from_name(head.task)
    return tuple(task.example(rows[feature.row], feature, head) for feature in features)


def split_rows(rows: Sequence[Row], held_out: int, *, seed: int, task: Task) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return (rows to train on, rows held out), each in the given order.

    Rows of one `Task.split_unit` (the same text, the same context) are on one side, so the second part may be somewhat
    larger than asked for. Which rows are chosen depends on their texts and the seed, not on their order.
    """
    units: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        units.setdefault(task.split_unit(row), []).append(index)
    chosen: set[int] = set()
    for unit in sorted(units, key=lambda unit: _lot(unit, seed)):
        if len(chosen) >= held_out:
            break
        chosen.update(units[unit])
    kept = tuple(row for index, row in enumerate(rows) if index not in chosen)
    return kept, tuple(row for index, row in enumerate(rows) if index in chosen)


def _lot(unit: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
