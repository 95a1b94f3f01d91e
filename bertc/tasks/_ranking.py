"""What rankings share: a score for each row, rows with a query and a relevance, and what a random order scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Head
from bertc.core.number_text import figure
from bertc.data.labels import is_labelled, number_from_label
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.average_precision import map_metric
from bertc.evaluate.metrics.ndcg import ndcg_metric
from bertc.evaluate.metrics.ranking import GOLD, SCORES, queries_of
from bertc.evaluate.metrics.reciprocal_rank import mrr_metric
from bertc.evaluate.reference import LEAST_ROWS, Floor, Reading
from bertc.evaluate.row_table import KeptNumbers, hash_value, kept_numbers

METRICS: Mapping[str, Callable[[int | None], Metric]] = {"ndcg": ndcg_metric, "mrr": mrr_metric, "map": map_metric}
NOTE = (
    "The label is the relevance of the text to the query, from 0 (none). Rows are of the same query if their group is "
    "the same or, without such a column, their first text."
)


@dataclass(frozen=True)
class RankedByScore:
    """A task whose outputs have a field `score`, float32 [rows], by which the rows of a query are ordered."""

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return None: a text is not told by labels."""
        return None

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return the score in thousandths."""
        return np.asarray(np.rint(outputs["score"].astype(np.float64) * 1000).astype(np.int64)).view(np.uint64)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return the score of each row, [1]."""
        return [kept_numbers(score) for score in outputs["score"]]

    def split_unit(self, row: Row) -> str:
        """Return the query."""
        return row.group or row.texts[0]


def ranking_metrics() -> tuple[Metric, ...]:
    """Return ndcg@10, mrr@10 and map."""
    return ndcg_metric(), mrr_metric(), map_metric()


def metric_at(base: str, cutoff: int | None) -> Metric | None:
    """Return ndcg, mrr or map over so many ranks, None for another name."""
    return METRICS[base](cutoff) if base in METRICS else None


def ranked_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Map relevances to floats and name each row's query. Raises `InputError` for a negative relevance, and where some
    rows have a query and others have none."""
    grouped = [bool(row.group) for row in rows]
    if any(grouped) and not all(grouped):
        missing = rows[grouped.index(False)]
        raise InputError(f"{missing.place}: has no query though other rows have one; fill the cell")
    named = tuple(replace(row, group=row.group or row.texts[0]) for row in rows)
    if not is_labelled(named):
        return tuple(replace(row, label=None) for row in named)
    return tuple(replace(row, label=_relevance(row)) for row in named)


def query_numbers(rows: Sequence[Row]) -> NDArray[np.uint64]:
    """Return a number for each row's query, the same in every shard."""
    numbers = {group: hash_value(group) for group in {row.group for row in rows}}
    return np.array([numbers[row.group] for row in rows], np.uint64)


def gold_of_rows(rows: Sequence[Row]) -> NDArray[np.void] | None:
    """Return the relevance and the query of each row, `GOLD`, or None without labels."""
    if not rows or rows[0].label is None:
        return None
    found = np.zeros(len(rows), GOLD)
    found["relevance"] = [row.label for row in rows]
    found["query"] = query_numbers(rows)
    return found


def floor_of_ranking(gold: Any) -> Floor:
    """Return what the rows in any order score; too few queries with rows of more and of less relevance tell nothing."""
    telling = [rows for rows in queries_of(gold["query"]) if np.ptp(gold["relevance"][rows]) > 0]
    alike = ""
    if len(telling) < LEAST_ROWS:
        alike = (
            f"{len(telling)} queries have rows of more and of less relevance, too few to tell one order from another "
            "(is the column of queries the right one?)"
        )
    tied = np.zeros(len(gold), SCORES)
    tied["query"] = gold["query"]
    value = ndcg_metric().value(gold, tied) if telling else 0.0
    return Floor(value=value, words=f"the {figure(value)} of a random order", alike=alike)


def ranking_readings(gold: Any) -> list[Reading]:
    """Return the relevances turned round: ranks that begin with the best, or distances."""
    turned = gold.copy()
    turned["relevance"] = gold["relevance"].max() - gold["relevance"]
    return [Reading(cause="the scale is turned round", words="the least as the most relevant", gold=turned)]


def _relevance(row: Row) -> float:
    value = number_from_label(row)
    if value < 0:
        raise InputError(f"{row.place}: the relevance {value:g} is negative; write 0 for a text that is not relevant")
    return value
