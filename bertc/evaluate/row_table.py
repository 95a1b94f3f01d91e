"""The rows of one evaluation as arrays: identities, decisions, outputs and each metric's statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.data.rows import Row
from bertc.evaluate.formulas import FORMULAS, Array
from bertc.evaluate.metric import UNBOUNDED, Bounds

KeptNumbers = NDArray[np.float16 | np.float32]
"""A row's flat outputs as a rows file has them, see `kept_numbers`."""

LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricRows:
    """The statistics [n, k] of a metric for two systems, what makes a value of them, and which values are possible."""

    name: str
    direction: str
    formula: str
    reference: Array
    engine: Array
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowTable:
    """n rows. `hashes`, `labels` and decisions are uint64 [n]: equal numbers mean equal texts, labels, decisions.

    `outputs_*` hold a flat array per row and are empty where they are not kept (a baseline).
    """

    task: str
    hashes: NDArray[np.uint64]
    labels: NDArray[np.uint64]
    groups: tuple[str, ...]
    decisions_reference: NDArray[np.uint64]
    decisions_engine: NDArray[np.uint64]
    outputs_reference: tuple[KeptNumbers, ...]
    outputs_engine: tuple[KeptNumbers, ...]
    metrics: tuple[MetricRows, ...]


def kept_statistics(statistics: Array, formula: str) -> Array:
    """Round sums to float32, as the rows file keeps them, so that figures made from the file are the report's."""
    return statistics.astype(np.float32).astype(np.float64) if FORMULAS[formula].additive else statistics


def kept_numbers(values: NDArray[Any]) -> KeptNumbers:
    """Return a row's outputs, of any shape, flat in float16; in float32 where one is beyond 65,504.

    There float16 has infinity alone, and all such rows would look alike.
    """
    flat = np.ravel(values)
    large = np.abs(flat).max(initial=0) > LARGEST_HALF
    return flat.astype(np.float32) if large else flat.astype(np.float16)


def hash_value(value: object) -> int:
    """Return the first 8 bytes of the sha256 of a value's `repr`, as a number."""
    return int.from_bytes(hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def hash_labels(rows: Sequence[Row]) -> NDArray[np.uint64]:
    """Return a number per row for all that says what is right; 0 without a label."""
    return np.array([hash_value((row.label, row.tags, row.answers)) if row.labelled else 0 for row in rows], np.uint64)
