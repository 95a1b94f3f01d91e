"""Feature extraction: an embedding per text; pairs with scores measure how its similarity ranks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Pooling, Similarity
from bertc.core.outputs import Output
from bertc.data.columns import Layout
from bertc.data.labels import check_texts, is_labelled, number_from_label
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, TEXT, TEXT_A, TEXT_B, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.losses import relative_error
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.correlation import correlation_metrics
from bertc.evaluate.metrics.similarity import embedding_metrics, similarity
from bertc.evaluate.reference import Floor, Reading, floor_of_scores, turned_round
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, RawOutputs, SizedValue, Task, Tensors, Truth

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

KEPT_COMPONENTS = 16
LAYOUT = Layout(choices=((TEXT_A, TEXT_B), (TEXT,)), optional=(LABEL, ID))


@dataclass(frozen=True)
class FeatureExtraction:
    """Outputs are the embeddings, float32 [rows, texts per row, H]; gold is the similarity of pairs, float64 [n]."""

    name: str = "feature-extraction"
    layout: Layout = LAYOUT
    main_fidelity: str = "mean_cosine"
    window: int | None = None
    head_weights: tuple[str, ...] = ()
    sentence_modules: bool = True
    crf: bool = False
    no_label_loss: str = "embeddings have no loss of labels"

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls a bare encoder this; a BertLMHeadModel is none."""
        return name.endswith("Model") and not name.endswith("HeadModel")

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return what sentence-transformers' modules say, or the mean over tokens."""
        modules = files.sentences
        if modules is None:
            return Head(task=self.name, pooling=Pooling.MEAN)
        if modules.pooling is None:
            raise InputError(
                f"{files.folder}: its modules give a vector for every token and none for the text; choose the task "
                "late-interaction"
            )
        return Head(
            task=self.name,
            pooling=modules.pooling,
            normalize=modules.normalize,
            layer_weights=modules.layer_weights,
            projections=modules.projections,
            dimensions=modules.dimensions,
            similarity=modules.similarity,
        )

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the tokens' vectors, for users alone, and the sentence's."""
        return (
            Output(name="last_hidden_state", per_token=True, read=False),
            Output(name="sentence_embedding", per_token=False, alias="embedding"),
        )

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the layer mix, pooling, projections and normalisation."""
        from bertc.ir.pooling import emit_mix, emit_normalized, emit_pooled
        from bertc.tasks._projections import emit_projections

        emit, hidden = builder.emit, builder.arch.hidden
        tokens = states[-1]
        if head.layer_weights is not None:
            if len(head.layer_weights) != len(states):
                raise InputError(
                    f"{builder.path}: the layer mix has {len(head.layer_weights)} weights where the model has "
                    f"{len(states)} hidden states (embeddings and {builder.arch.layers} layers); save the checkpoint "
                    "again"
                )
            tokens = emit_mix(emit, states, head.layer_weights)
        assert head.pooling is not None
        pooled = emit_pooled(emit, builder.packing, tokens, hidden, head.pooling)
        pooled, full = emit_projections(builder, head.projections, pooled, hidden)
        if head.normalize:
            pooled = emit_normalized(emit, pooled)
        width = full if head.dimensions is None else min(head.dimensions, full)
        if width < full:  # behind the normalisation, as sentence-transformers does: the length is then below 1
            bounds = [
                emit.constant(f"head.{name}", np.array([at], np.int64)) for name, at in (("from", 0), ("to", width))
            ]
            axis = emit.constant("head.width_axis", np.array([-1], np.int64))
            pooled = emit.op("Slice", pooled, *bounds, axis, name="head.truncated")
        values = zip((tokens, pooled), self.outputs(head), (hidden, width), strict=True)
        return [(emit.op("Identity", value, name=output.name), (size,)) for value, output, size in values]

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
        return _similarity(outputs, head) if outputs.shape[1] == 2 else np.ones(len(outputs))

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {embedding}, or {embeddings, similarity} for a pair."""
        if outputs.shape[1] == 1:
            return [{"embedding": row[0].tolist()} for row in outputs]
        similar = _similarity(outputs, head)
        return [
            {"embeddings": row.tolist(), "similarity": float(value)}
            for row, value in zip(outputs, similar, strict=True)
        ]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the embedding's beginning, or the similarity of a pair."""
        if "similarity" in prediction:
            return [f"similarity {prediction['similarity']:.4f}"]
        vector = prediction["embedding"]
        begin = ", ".join(f"{value:.4f}" for value in vector[:4])
        return [f"[{begin}, ...] ({len(vector)} numbers; --json prints all)"]

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

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the mean cosine to float, the agreement of nearest neighbours, recall at 10, and squared error."""
        return embedding_metrics()

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return zeros: an embedding decides nothing, so no row is ever reported as decided otherwise."""
        return np.zeros(len(outputs), np.uint64)

    def packed(self, outputs: Any) -> list[NDArray[np.float16]]:
        """Return the first components of each row's embeddings, flat: enough to tell whether an output changed.

        All of them would make the rows file of 1,500 pairs as large as a fifth of the engine.
        """
        return list(outputs[:, :, :KEPT_COMPONENTS].reshape(len(outputs), -1).astype(np.float16))

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


def _similarity(outputs: NDArray[Any], head: Head) -> Array:
    return similarity(outputs[:, 0], outputs[:, 1], head.similarity or Similarity.COSINE)


TASK: Task = FeatureExtraction()
