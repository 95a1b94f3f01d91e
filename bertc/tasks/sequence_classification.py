"""Sequence classification: one label, several labels, or a score for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import IGNORED, Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem, Squash
from bertc.data.columns import Layout
from bertc.data.label_sets import id_sets
from bertc.data.labels import LabelIds, check_texts, is_labelled, number_from_label
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, TEXT, TEXT_A, TEXT_B, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.losses import kl_divergence
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.classification import ALIASES, BASES, decided, label_metric, label_metrics, probabilities
from bertc.evaluate.metrics.correlation import correlation_metrics, error_metric
from bertc.evaluate.metrics.fidelity import agreement_metric, distance_metric, divergence, divergence_of_labels
from bertc.evaluate.reference import Floor, Reading, floor_of_labels, floor_of_scores, turned_round
from bertc.evaluate.row_table import KeptNumbers, kept_numbers
from bertc.evaluate.task import HeadFiles, RawOutputs, Task, Tensors, Truth
from bertc.tasks._classifier import TextClassifier, problem_from_files, squashed
from bertc.tasks._exits import mean_over_exits
from bertc.tasks._labels import CLASSIFIERS, label_readings, labels_from_files

if TYPE_CHECKING:
    from torch import Tensor

RANKING_METRICS = ("ndcg", "mrr", "map")

# Two regression scores agree when they differ by at most this part of the float scores' standard deviation.
REGRESSION_TOLERANCE = 0.1

LAYOUT = Layout(choices=((TEXT_A, TEXT_B), (TEXT,)), optional=(LABEL, ID))


@dataclass(frozen=True)
class SequenceClassification(TextClassifier):
    """Outputs are the logits, float32 [rows, labels]; gold is int64 [n], bool [n, labels] or float64 [n]."""

    name: str = "sequence-classification"
    layout: Layout = LAYOUT
    main_fidelity: str = "agreement"
    hub_name: str = "text-classification"
    head_weights: tuple[str, ...] = CLASSIFIERS

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls such a model this."""
        return name.removesuffix("WithPabee").endswith("ForSequenceClassification")

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return labels and problem. Raises `InputError` where configuration and weights disagree."""
        labels = labels_from_files(files, self)
        return Head(task=self.name, labels=labels, problem=problem_from_files(files, len(labels)))

    def schema(self, head: Head) -> str:
        """Return the help on columns and labels."""
        notes = {
            Problem.REGRESSION: "The label is a number. Where a query (a column query_id, qid or query) has several "
            "rows they are judged as a ranking, and the label is a relevance from 0.",
            Problem.MULTI_LABEL: "The label is a list of names or ids (JSON, or with commas), a 0 or 1 for each label, "
            "or a column of 0 and 1 for each, of: " + ", ".join(head.labels),
        }
        plain = "The label is a name or a number from 0, of: " + ", ".join(head.labels)
        return schema_from_layout(self.name, self.layout, notes.get(head.problem or Problem.SINGLE_LABEL, plain))

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Map labels to an id, a tuple of ids or a float. Raises `InputError` on one that the head does not know."""
        check_texts(rows, (1, 2), self.name)
        if not any(row.labelled for row in rows):
            return tuple(row if row.label is None else replace(row, label=None) for row in rows)  # "" is no label
        if head.problem == Problem.MULTI_LABEL:
            pairs = zip(rows, id_sets(rows, head.labels), strict=True)
            return tuple(replace(row, label=ids) for row, ids in pairs)
        is_labelled(rows)
        ids = LabelIds(head.labels)
        return tuple(replace(row, label=_mapped_label(row, head, ids)) for row in rows)

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> NDArray[np.float32]:
        """Return the logits [rows, labels], or the score that a cross-encoder makes of its one."""
        logits = np.zeros((len(rows), len(head.labels)), np.float32)
        for feature, values in zip(features, raw["logits"], strict=True):
            logits[feature.row] = values
        return squashed(logits, head)

    def graded(self, outputs: Any, head: Head) -> Any:
        """Return the outputs: a few numbers."""
        return outputs

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {label, score, scores}; with several labels {labels, scores}; for regression {score}."""
        if head.problem == Problem.REGRESSION:
            return [{"score": float(row[0])} for row in outputs]
        chances, given = probabilities(outputs, head), decided(outputs, head)
        found: list[dict[str, Any]] = []
        for chance, mask in zip(chances, given, strict=True):
            scores = {label: float(value) for label, value in zip(head.labels, chance, strict=True)}
            names = [label for label, on in zip(head.labels, mask, strict=True) if on]
            if head.problem == Problem.MULTI_LABEL:
                found.append({"labels": names, "scores": scores})
            else:
                found.append({"label": names[0], "score": scores[names[0]], "scores": scores})
        return found

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the label and its score, the labels, or the score alone."""
        if "labels" in prediction:
            return [", ".join(prediction["labels"]) or "no label"]
        label = f"{prediction['label']}  " if "label" in prediction else ""
        return [f"{label}{prediction['score']:.4f}"]

    def gold(self, rows: Sequence[Row], head: Head) -> NDArray[Any] | None:
        """Return the labels as an array, or None without labels."""
        if not rows or rows[0].label is None:
            return None
        if head.problem == Problem.REGRESSION:
            return np.array([row.label for row in rows], np.float64)
        if head.problem == Problem.MULTI_LABEL:
            return np.array([[index in (row.label or ()) for index in range(len(head.labels))] for row in rows], bool)
        return np.array([row.label for row in rows], np.int64)

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return accuracy, F1 and Matthews; micro F1 first for several labels; Pearson first for regression."""
        if head.problem == Problem.REGRESSION:
            return (*correlation_metrics(_score), error_metric(_score))
        return label_metrics(head)

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return what the best constant answer scores; 0 for regression."""
        if head.problem == Problem.REGRESSION:
            return floor_of_scores(gold)
        return floor_of_labels(gold, head.labels)

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return other numberings of the labels, or the scale turned round."""
        if head.problem == Problem.REGRESSION:
            return [turned_round(gold)]
        return label_readings(gold, decided(graded, head), head.labels)

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return precision, recall, f1 or false_positive_rate (fpr) of a label."""
        if head.problem == Problem.REGRESSION or ALIASES.get(base, base) not in BASES or label not in head.labels:
            return None
        return label_metric(head, base, head.labels.index(label), threshold)

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return None. Raises `InputError` for a metric of rankings, which text-ranking has."""
        if base in RANKING_METRICS and head.problem == Problem.REGRESSION:
            raise InputError(
                f"'{base}' ranks the rows of a query; name the column of queries with group=NAME (one "
                "of them needs two rows or more)"
            )
        return None

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return agreement, the divergence in nats (not for regression) and the logits' mean squared error."""
        error = distance_metric("logit_mse", _squared_error)
        if head.problem == Problem.REGRESSION:
            return replace(agreement_metric(_near), whole_set=True), error
        kl = divergence_of_labels if head.problem == Problem.MULTI_LABEL else divergence
        return (
            agreement_metric(lambda a, b: (decided(a, head) == decided(b, head)).all(-1)),
            distance_metric("divergence", lambda a, b: _counted(kl(a, b))),
            error,
        )

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return the label's id, the labels' bits folded to 64, or the score in thousandths."""
        if head.problem == Problem.REGRESSION:
            return np.asarray(np.rint(outputs[:, 0].astype(np.float64) * 1000).astype(np.int64), np.int64).view(
                np.uint64
            )
        if head.problem != Problem.MULTI_LABEL:
            return np.asarray(outputs.argmax(-1), np.uint64)
        weights = np.random.default_rng(0).integers(1, 2**63, outputs.shape[1], dtype=np.uint64)
        return np.asarray((decided(outputs, head) * weights).sum(-1, dtype=np.uint64))

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return the logits of each row."""
        return [kept_numbers(row) for row in outputs]

    def split_unit(self, row: Row) -> str:
        """Return the text's hash."""
        return row.hash

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the label's id int64 [], the labels float32 [labels] or the score float32 [] as gold."""
        if row.label is None:
            return Example(feature=feature)
        if head.problem == Problem.MULTI_LABEL:
            given = np.isin(np.arange(len(head.labels)), row.label)
            return Example(feature=feature, gold=given.astype(np.float32), labelled=1)
        kind = np.float32 if head.problem == Problem.REGRESSION else np.int64
        return Example(feature=feature, gold=np.asarray(row.label, kind), labelled=1)

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Return cross entropy; binary cross entropy, averaged over several labels; squared error of a score.

        With exits the mean over all classifiers.
        """
        from torch.nn import functional

        gold = truth.gold
        assert gold is not None

        def loss(logits: Tensor) -> Tensor:
            if head.problem == Problem.REGRESSION:
                scores = logits[:, 0].sigmoid() if head.squash == Squash.SIGMOID else logits[:, 0]
                return functional.mse_loss(scores, gold, reduction="sum")
            if head.problem == Problem.MULTI_LABEL:
                return functional.binary_cross_entropy_with_logits(logits, gold, reduction="none").mean(-1).sum()
            return functional.cross_entropy(logits, gold, ignore_index=IGNORED, reduction="sum")

        return mean_over_exits(head, outputs, loss)

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of the softmax of logits / T (Hinton et al. 2015, arXiv:1503.02531).

        For several labels of each label's own, averaged; squared error of a score. With exits the mean over all
        classifiers, whose teacher is the teacher's last one.
        """
        import torch
        from torch.nn import functional

        theirs = teacher["logits"].float()

        def loss(ours: Tensor) -> Tensor:
            if head.problem == Problem.REGRESSION:
                return functional.mse_loss(ours, theirs, reduction="sum")
            pair = (ours / temperature, theirs / temperature)
            if head.problem == Problem.MULTI_LABEL:
                left, right = (torch.stack([x, torch.zeros_like(x)], -1) for x in pair)
                return temperature**2 * kl_divergence(left, right).mean(-1).sum()
            return temperature**2 * kl_divergence(*pair).sum()

        return mean_over_exits(head, outputs, loss)


def _mapped_label(row: Row, head: Head, ids: LabelIds) -> Any:
    if head.problem == Problem.REGRESSION:
        return number_from_label(row)
    return ids.id(row, row.label)


def _score(outputs: NDArray[Any]) -> Array:
    return outputs[:, 0].astype(np.float64)


def _near(reference: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which scores are as near to float's as a share of the spread of float's scores over all rows."""
    tolerance = REGRESSION_TOLERANCE * max(float(_score(reference).std()), 1e-12)
    return np.asarray(np.abs(_score(reference) - _score(outputs)) <= tolerance)


def _counted(values: Array) -> Array:
    return np.stack([values, np.ones_like(values)], -1)


def _squared_error(reference: NDArray[Any], outputs: NDArray[Any]) -> Array:
    squared = (reference.astype(np.float64) - outputs) ** 2
    return np.stack([squared.sum(-1), np.full(len(squared), float(squared.shape[-1]))], -1)


TASK: Task = SequenceClassification()
