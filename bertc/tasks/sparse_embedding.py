"""Sparse embedding (SPLADE, Formal et al. 2021, arXiv:2109.10086): a weight per token of the vocabulary for each text.

A token's weight is log(1 + max(0, its highest score at any token of the text)), by a masked language model's head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Head, Pooling, Similarity
from bertc.core.outputs import Output
from bertc.data.rows import Row
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.similarity import embedding_metrics
from bertc.evaluate.row_table import KeptNumbers, kept_numbers
from bertc.evaluate.task import HeadBuilder, HeadFiles, SizedValue, Task
from bertc.tasks._embeddings import TextEmbeddings, similarities
from bertc.tasks._tokens import BIASES, check_token_scores

if TYPE_CHECKING:
    import onnx_ir as ir

KEPT_WEIGHTS = 16
SHOWN = 10
"""Tokens of a text that are shown to a person."""

CORPUS_ROWS = 512
"""Rows whose texts are compared with each other: each vector is as long as the vocabulary."""


@dataclass(frozen=True)
class SparseEmbedding(TextEmbeddings):
    """Outputs are the weights, float32 [rows, texts per row, vocabulary]; gold is the similarity of pairs."""

    name: str = "sparse-embedding"
    token_scores: bool = True
    head_weights: tuple[str, ...] = BIASES

    def has_architecture(self, name: str) -> bool:
        """Return False: by its name it is a masked language model."""
        return False

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return what sentence-transformers' modules say, or SPLADE with the inner product."""
        check_token_scores(files, self.name)
        compared = Similarity.DOT
        if files.sentences is not None and files.sentences.sparse:
            compared = files.sentences.similarity or Similarity.COSINE
        return Head(task=self.name, pooling=Pooling.MAX, similarity=compared)

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return each text's weights."""
        return (Output(name="sentence_embedding", per_token=False, alias="embedding"),)

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the scores of every token of the vocabulary at every token of a text, and their maximum."""
        from bertc.ir.pooling import emit_pooled

        emit, size = builder.emit, builder.arch.vocabulary
        scores = builder.token_scores(states[-1], "head.scores")
        pooled = emit_pooled(emit, builder.packing, scores, size, Pooling.MAX)
        positive = emit.op("Relu", pooled, name="head.positive")
        above = emit.op("Add", positive, emit.constant("head.one", np.float32(1)), name="head.above_one")
        return [(emit.op("Log", above, name="sentence_embedding"), (size,))]

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {tokens}, the weights that are not 0, largest first, or {tokens of each, similarity} for a pair."""
        found = [[_weights(vector, head) for vector in row] for row in outputs]
        if outputs.shape[1] == 1:
            return [{"tokens": tokens} for (tokens,) in found]
        similar = similarities(outputs, head)
        return [{"tokens": tokens, "similarity": float(value)} for tokens, value in zip(found, similar, strict=True)]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the tokens with the largest weights, a line each, or the similarity of a pair."""
        if "similarity" in prediction:
            return [f"similarity {prediction['similarity']:.4f}"]
        tokens = prediction["tokens"]
        shown = [f"{token}  {weight:.4f}" for token, weight in list(tokens.items())[:SHOWN]]
        left = len(tokens) - len(shown)
        return [*shown, *([f"and {left} more (--json prints all)"] if left else [])] or ["no token"]

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the mean cosine to float, the agreement of nearest neighbours, recall at 10, and squared error."""
        return embedding_metrics(head.similarity or Similarity.COSINE, CORPUS_ROWS)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return the largest weights of each row's texts, largest first, flat."""
        largest = -np.sort(-outputs, axis=-1)[:, :, :KEPT_WEIGHTS]
        return [kept_numbers(row) for row in largest]


def _weights(vector: NDArray[np.float32], head: Head) -> dict[str, float]:
    order = np.argsort(-vector, kind="stable")[: int((vector > 0).sum())]
    return {head.labels[id]: float(vector[id]) for id in order}


TASK: Task = SparseEmbedding()
