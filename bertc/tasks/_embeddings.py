"""What tasks that give a vector for each text share; pairs with scores measure how its similarity ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Similarity
from bertc.data.columns import Layout
from bertc.data.labels import check_texts, is_labelled, number_from_label
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, TEXT, TEXT_A, TEXT_B, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.losses import relative_error
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.correlation import correlation_metrics
from bertc.evaluate.metrics.similarity import similarity
from bertc.evaluate.reference import Floor, Reading, floor_of_scores, turned_round
from bertc.evaluate.task import Encoder, RawOutputs, Tensors, Truth
from bertc.tasks._declared import Declared

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = Layout(choices=((TEXT_A, TEXT_B), (TEXT,)), optional=(LABEL, ID))


@dataclass(frozen=True)
class TextEmbeddings(Declared):
    """Outputs are the embeddings, float32 [rows, texts per row, H]; gold is the similarity of pairs, float64 [n]."""

    name: str = ""
    layout: Layout = LAYOUT
    main_fidelity: str = "mean_cosine"
    hub_name: str = "feature-extraction"
    sentence_modules: bool = True
    no_label_loss: str = "embeddings have no loss of labels"

    def schema(self, head: Head) -> str:
        """Return the help on columns."""
        note = (
            "Pairs with a number as label are scored by the rank correlation of the similarity; texts alone need none."
        )
        return schema_from_layout(self.name, self.layout, note)

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Map the scores of pairs to floats; labels of single texts mean nothing here and are dropped."""
        check_texts(rows, (1, 2), self.name)
        if rows and len(rows[0].texts) == 1:
            return tuple(replace(row, label=None, tags=None, answers=()) for row in rows)
        if not is_labelled(rows) or any(row.label in (None, "") for row in rows):
            return tuple(replace(row, label=None, answers=()) for row in rows)
        return tuple(replace(row, label=number_from_label(row)) for row in rows)

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode every text by itself: a pair gives two features."""
        places = [(index, number) for index, row in enumerate(rows) for number in range(len(row.texts))]
        texts = [rows[index].texts[number] for index, number in places]
        encoded = encoder.encode_batch(texts, max_length=max_length) if texts else []
        return [
            Feature(
                input_ids=np.asarray(item.ids, np.int64),
                token_type_ids=np.asarray(item.type_ids, np.int64),
                row=index,
                truncated=bool(item.truncated),
                detail={"text": number},
            )
            for (index, number), item in zip(places, encoded, strict=True)
        ]

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> NDArray[np.float32]:
        """Return the embeddings [rows, texts, H]."""
        vectors = raw["embedding"]
        found = np.zeros((len(rows), len(rows[0].texts), len(vectors[0])), np.float32)
        for feature, vector in zip(features, vectors, strict=True):
            found[feature.row, feature.detail["text"]] = vector
        return found

    def graded(self, outputs: Any, head: Head) -> Array:
        """Return the similarity of each pair, [rows]; that of single texts, which nothing grades, is 1."""
        return similarities(outputs, head) if outputs.shape[1] == 2 else np.ones(len(outputs))

    def gold(self, rows: Sequence[Row], head: Head) -> Array | None:
        """Return the scores of pairs, or None without."""
        if not rows or rows[0].label is None:
            return None
        return np.array([row.label for row in rows], np.float64)

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return Spearman's and Pearson's correlation of the vectors' similarity with the scores."""
        pearson, spearman = correlation_metrics(lambda graded: graded)
        return spearman, pearson

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return 0."""
        return floor_of_scores(gold)

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return the scale turned round: distances for similarities."""
        return [turned_round(gold)]

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return None: embeddings have no labels."""
        return None

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return None: nothing is ranked."""
        return None

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return zeros: an embedding decides nothing, so no row is ever reported as decided otherwise."""
        return np.zeros(len(outputs), np.uint64)

    def split_unit(self, row: Row) -> str:
        """Return the text's hash."""
        return row.hash

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the feature alone: there is no truth about an embedding."""
        return Example(feature=feature)

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Raise `InputError`: there is none."""
        raise InputError(f"{self.no_label_loss}; leave labels at 0 and distill from a teacher")

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return the relative squared error of the embeddings."""
        return relative_error(outputs["sentence_embedding"], teacher["sentence_embedding"]).sum()


def similarities(outputs: NDArray[Any], head: Head) -> Array:
    """Return how near the two vectors of each pair are, [rows]; outputs: [rows, 2, H]."""
    return similarity(outputs[:, 0], outputs[:, 1], head.similarity or Similarity.COSINE)
