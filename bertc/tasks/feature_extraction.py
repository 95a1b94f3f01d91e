"""Feature extraction: an embedding per text; pairs with scores measure how its similarity ranks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bertc.core.head import Head, Pooling, Similarity
from bertc.core.outputs import Output
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.similarity import embedding_metrics
from bertc.evaluate.row_table import KeptNumbers, kept_numbers
from bertc.evaluate.task import HeadBuilder, HeadFiles, SizedValue, Task
from bertc.tasks._embeddings import TextEmbeddings, similarities

if TYPE_CHECKING:
    import onnx_ir as ir

KEPT_COMPONENTS = 16


@dataclass(frozen=True)
class FeatureExtraction(TextEmbeddings):
    """Outputs are the embeddings, float32 [rows, texts per row, H]; gold is the similarity of pairs, float64 [n]."""

    name: str = "feature-extraction"

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls a bare encoder this; a BertLMHeadModel is none."""
        return name.endswith("Model") and not name.endswith("HeadModel")

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return what sentence-transformers' modules say, or the mean over tokens."""
        modules = files.sentences
        if modules is None or modules.sparse:
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

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {embedding}, or {embeddings, similarity} for a pair."""
        if outputs.shape[1] == 1:
            return [{"embedding": row[0].tolist()} for row in outputs]
        similar = similarities(outputs, head)
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

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the mean cosine to float, the agreement of nearest neighbours, recall at 10, and squared error."""
        return embedding_metrics(head.similarity or Similarity.COSINE)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return the first components of each row's embeddings, flat: enough to tell whether an output changed.

        All of them would make the rows file of 1,500 pairs as large as a fifth of the engine.
        """
        return [kept_numbers(vectors[:, :KEPT_COMPONENTS]) for vectors in outputs]


TASK: Task = FeatureExtraction()
