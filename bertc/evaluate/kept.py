"""A set is evaluated shard by shard: what is kept of a shard's outputs is little, whatever a model says of a row.

A shard's windows and logits are gone when the next one comes; statistics, decisions and what labels grade stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.rows import Row
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.row_table import KeptNumbers, kept_statistics
from bertc.evaluate.task import RawOutputs, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some rows of a set, in order, with their features and the raw outputs of both models per feature."""

    rows: Sequence[Row]
    features: Sequence[Feature]
    reference: RawOutputs
    engine: RawOutputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptOutputs:
    """Of a model's outputs, row by row: what labels grade, the decisions [n], and what a rows file has of them."""

    graded: Any
    decisions: NDArray[np.uint64]
    packed: tuple[KeptNumbers, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptRows:
    """Of both models' outputs on all rows: what is kept of each, and the fidelity metrics' statistics.

    `fidelity` has of each metric the statistics [n, k] of the float model itself and of the engine. `truncated` counts
    the rows whose text was cut off.
    """

    reference: KeptOutputs
    engine: KeptOutputs
    fidelity: dict[str, tuple[Array, Array]]
    truncated: int


def kept_from_outputs(task: Task, head: Head, outputs: Any) -> KeptOutputs:
    """Keep what is needed of the outputs of some rows."""
    return KeptOutputs(
        graded=task.graded(outputs, head),
        decisions=task.decisions(outputs, head),
        packed=tuple(task.packed(outputs)),
    )


def joined_outputs(parts: Sequence[KeptOutputs]) -> KeptOutputs:
    """Put what was kept of the shards together, in their order."""
    return KeptOutputs(
        graded=_joined([part.graded for part in parts]),
        decisions=np.concatenate([part.decisions for part in parts]),
        packed=tuple(chain.from_iterable(part.packed for part in parts)),
    )


def kept_from_shards(task: Task, head: Head, metrics: Sequence[Metric], shards: Iterable[Shard]) -> KeptRows:
    """Go through the shards once, each dropped when the next one comes; `metrics` are the fidelity metrics."""
    by_row = [metric for metric in metrics if not metric.whole_set]
    together = [metric for metric in metrics if metric.whole_set]
    kept: list[tuple[KeptOutputs, KeptOutputs]] = []
    statistics: list[list[tuple[Array, Array]]] = []
    first: list[tuple[Any, Any]] = []
    rows = truncated = 0
    for reference, engine, cut in _outputs_of_shards(task, head, shards):
        kept.append((kept_from_outputs(task, head, reference), kept_from_outputs(task, head, engine)))
        statistics.append([_both_statistics(metric, reference, engine) for metric in by_row])
        left = max((_rows_left(metric, rows, len(reference)) for metric in together), default=0)
        if left:
            first.append((reference[:left], engine[:left]))
        rows += len(reference)
        truncated += cut
    fidelity = {
        metric.name: _joined_pairs([parts[place] for parts in statistics]) for place, metric in enumerate(by_row)
    }
    if together:
        both = _joined([part[0] for part in first]), _joined([part[1] for part in first])
        fidelity |= {metric.name: _padded_statistics(metric, *both, rows) for metric in together}
    reference_parts, engine_parts = zip(*kept, strict=True)
    return KeptRows(
        reference=joined_outputs(reference_parts),
        engine=joined_outputs(engine_parts),
        fidelity=fidelity,
        truncated=truncated,
    )


def truncated_rows(features: Sequence[Feature]) -> int:
    """Count the rows of which text was cut off."""
    return len({feature.row for feature in features if feature.truncated})


def _outputs_of_shards(task: Task, head: Head, shards: Iterable[Shard]) -> Iterator[tuple[Any, Any, int]]:
    """Yield both models' outputs per row, and how many rows were cut off."""
    for shard in shards:
        reference, engine = (
            task.row_outputs(shard.rows, shard.features, raw, head) for raw in (shard.reference, shard.engine)
        )
        yield reference, engine, truncated_rows(shard.features)


def _rows_left(metric: Metric, before: int, rows: int) -> int:
    return rows if metric.corpus is None else min(rows, max(metric.corpus - before, 0))


def _both_statistics(metric: Metric, reference: Any, engine: Any) -> tuple[Array, Array]:
    """Return a fidelity metric's statistics of the float model itself and of the engine."""
    itself, other = (metric.statistics(reference, outputs) for outputs in (reference, engine))
    return kept_statistics(itself, metric.formula), kept_statistics(other, metric.formula)


def _padded_statistics(metric: Metric, reference: Any, engine: Any, rows: int) -> tuple[Array, Array]:
    """Compare the corpus's rows with each other; the others have statistics of 0."""
    most = rows if metric.corpus is None else metric.corpus
    itself, other = (
        np.pad(found, ((0, rows - len(found)), (0, 0)))
        for found in _both_statistics(metric, reference[:most], engine[:most])
    )
    return itself, other


def _joined_pairs(pairs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def _joined(parts: Sequence[Any]) -> Any:
    """Join sequences with an entry per row: arrays, or lists."""
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain.from_iterable(parts))
