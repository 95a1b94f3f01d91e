"""Text ranking: a score for a query and a text, judged by the order that it gives the texts of each query.

A cross-encoder with one score is a regression by its files. It is judged as a ranking where the rows have queries
(`bertc.tasks.head_of_rows`), or where the user names this task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem, Squash
from bertc.data.columns import Layout
from bertc.data.labels import check_texts
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, QUERY, TEXT_A, TEXT_B, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.fidelity import distance_metric
from bertc.evaluate.metrics.ranking import SCORES, agreement_metrics
from bertc.evaluate.reference import Floor, Reading
from bertc.evaluate.task import HeadFiles, RawOutputs, Task, Tensors, Truth
from bertc.tasks._classifier import TextClassifier, squashed
from bertc.tasks._labels import CLASSIFIERS, labels_from_files
from bertc.tasks._ranking import (
    NOTE,
    RankedByScore,
    floor_of_ranking,
    gold_of_rows,
    metric_at,
    query_numbers,
    ranked_rows,
    ranking_metrics,
    ranking_readings,
)

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = Layout(choices=((TEXT_A, TEXT_B),), optional=(QUERY, LABEL, ID), whole_groups=True, groups_by_text=True)


@dataclass(frozen=True)
class TextRanking(RankedByScore, TextClassifier):
    """Outputs are `SCORES` [rows] with logits, whose order no sigmoid can blur; gold is `GOLD` [rows]."""

    name: str = "text-ranking"
    layout: Layout = LAYOUT
    main_fidelity: str = "pair_agreement"
    head_weights: tuple[str, ...] = CLASSIFIERS

    def has_architecture(self, name: str) -> bool:
        """Return False: by its name a cross-encoder is a classifier."""
        return False

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return a regression's head. Raises `InputError` for more scores than one, which order nothing."""
        labels = labels_from_files(files, self)
        if len(labels) != 1:
            raise InputError(
                f"{files.folder}: the classifier gives {len(labels)} scores, and texts are ranked by one; take a "
                "cross-encoder with num_labels 1, or the task sequence-classification"
            )
        return Head(task=self.name, labels=labels, problem=Problem.REGRESSION)

    def schema(self, head: Head) -> str:
        """Return the help on columns."""
        return schema_from_layout(self.name, self.layout, NOTE)

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Map relevances to floats and name each row's query. Raises `InputError` for a negative relevance, and where
        some rows have a query and others have none."""
        check_texts(rows, (2,), self.name)
        return ranked_rows(rows)

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> NDArray[np.void]:
        """Return the logit and the query of each row, `SCORES`."""
        found = np.zeros(len(rows), SCORES)
        found["query"] = query_numbers(rows)
        for feature, values in zip(features, raw["logits"], strict=True):
            found["score"][feature.row] = values[0]
        return found

    def graded(self, outputs: Any, head: Head) -> Any:
        """Return the outputs: two numbers."""
        return outputs

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {score}."""
        return [{"score": float(value)} for value in squashed(outputs["score"], head)]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the score."""
        return [f"{prediction['score']:.4f}"]

    def gold(self, rows: Sequence[Row], head: Head) -> NDArray[np.void] | None:
        """Return the relevance and the query of each row, `GOLD`, or None without labels."""
        return gold_of_rows(rows)

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return ndcg@10, mrr@10 and map."""
        return ranking_metrics()

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return what the rows in any order score; too few queries with rows of more and of less relevance tell
        nothing."""
        return floor_of_ranking(gold)

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return the relevances turned round: ranks that begin with the best, or distances."""
        return ranking_readings(gold)

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return ndcg, mrr or map over so many ranks."""
        return metric_at(base, cutoff)

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the agreement of pairs, that of the first ten rows of each query, and the logits' squared error."""
        return (*agreement_metrics(), distance_metric("logit_mse", _squared_error))

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the relevance, float32 [], as gold."""
        if row.label is None:
            return Example(feature=feature)
        return Example(feature=feature, gold=np.asarray(row.label, np.float32), labelled=1)

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Return the squared error of the scores."""
        from torch.nn import functional

        scores, gold = outputs["logits"].float()[:, 0], truth.gold
        assert gold is not None
        return functional.mse_loss(scores.sigmoid() if head.squash == Squash.SIGMOID else scores, gold, reduction="sum")

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return the squared error of the logits."""
        from torch.nn import functional

        return functional.mse_loss(outputs["logits"].float(), teacher["logits"].float(), reduction="sum")


def _squared_error(reference: Any, outputs: Any) -> Array:
    squared = (reference["score"].astype(np.float64) - outputs["score"]) ** 2
    return np.stack([squared, np.ones_like(squared)], -1)


TASK: Task = TextRanking()
