"""What a step adds to attention's products, as its kernel reads it (`bertc.runtime.cuda.kernels.relative_scores`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bertc.runtime.cuda.kernels.relative_scores import BIAS, OF_KEYS, OF_QUERIES, SEGMENTS
from bertc.runtime.cuda.operands import Operands
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """`bits` are the kernel's ADDED.

    distances: float32 [heads, distances], or int32 [distances], a column of the products for each. by_query and by_key:
    products of queries and keys with embeddings of distances, [heads, rows, columns]. segments: [rows, heads].
    """

    bits: int
    distances: torch.Tensor | None = None
    by_query: torch.Tensor | None = None
    by_key: torch.Tensor | None = None
    segments: torch.Tensor | None = None

    @property
    def columns(self) -> int:
        """Columns of the products, 0 without any."""
        found = self.by_key if self.by_query is None else self.by_query
        return 0 if found is None else found.shape[-1]

    @property
    def strides(self) -> list[int]:
        """Numbers between the heads of distances and of the products, and between the rows of segments."""
        distances = self.distances if self.bits & BIAS.value else None  # a step's columns are those of all heads
        each = (distances, self.by_query, self.by_key, self.segments)
        return [0 if tensor is None else tensor.stride(0) for tensor in each]


def added_scores(step: Step, buffers: Sequence[torch.Tensor], operands: Operands) -> Added:
    """Multiply what a step has of queries and keys with embeddings of distances, and return what it adds."""
    segments = None if step.segments == NO_BUFFER else buffers[step.segments][:, step.segments_column :]
    bits = 0 if segments is None else SEGMENTS.value
    if step.distance_bias:
        return Added(bits=bits | BIAS.value, distances=operands.array(step.distance_bias), segments=segments)
    by_query, by_key = (
        _products(step, side, embeddings, buffers, operands)
        for side, embeddings in enumerate((step.distance_key, step.distance_query))
    )
    bits |= OF_QUERIES.value * (by_query is not None) | OF_KEYS.value * (by_key is not None)
    return Added(
        bits=bits, distances=operands.array(step.distance_row), by_query=by_query, by_key=by_key, segments=segments
    )


def _products(
    step: Step, side: int, embeddings: str, buffers: Sequence[torch.Tensor], operands: Operands
) -> torch.Tensor | None:
    """Return products [heads, rows, columns] of queries (side 0) or keys (1) with embeddings of distances."""
    if not embeddings:
        return None
    begin = step.numbers_column[side]
    numbers = buffers[step.numbers[side]][:, begin : begin + step.n]
    numbers = numbers.view(len(numbers), step.heads, step.n // step.heads)
    return torch.bmm(numbers.transpose(0, 1), operands.embeddings(embeddings, numbers.dtype))
