"""What segments add to the scores of attention: a product of each query with what its own segment's keys share (XLNet).

A query q has one product with the embedding of its own segment, (q + b) . e_own, and one with that of all others. The
softmax does not see what all keys of a query get, so the second may be taken off everywhere: what is left is the number
(q + b) . (e_own - e_other), which keys of the query's own segment get. Segments are of no concern between sentences of
one row, which do not see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.edit import values_by_name
from bertc.ir.emit import Emitter

SAME = "segments.same"
PAIRS = f"{SAME}_pairs"
NUMBERS = "segment_numbers"
"""What a layer's product of queries with segments is called behind the layer's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentKeys:
    """A layer's e_own - e_other, scaled as the scores are, and its products with what is added to queries.

    keys: float32 [attention size, heads], a head's column zero in the rows of others; offsets: float32 [heads].
    """

    keys: NDArray[np.float32]
    offsets: NDArray[np.float32]


def has_segments(model: ir.Model) -> bool:
    """Say whether segments add to the scores of a graph."""
    return SAME in values_by_name(model)


def emit_same_segment(emit: Emitter, types: ir.Value) -> ir.Value:
    """Write 1 for two tokens of one segment and 0 for others, float [B, 1, S, S]. types: int64 [B, S]."""
    first, second = (emit.constant(f"{SAME}_axis_{axis}", np.array([axis], np.int64)) for axis in (1, 2))
    queries = emit.op("Unsqueeze", types, second, name=f"{SAME}_queries")
    keys = emit.op("Unsqueeze", types, first, name=f"{SAME}_keys")
    equal = emit.op("Equal", queries, keys, name=f"{SAME}_equal")
    pairs = emit.op("Cast", equal, to=int(ir.DataType.FLOAT), name=PAIRS)
    return emit.op("Unsqueeze", pairs, first, name=SAME)


def emit_segment_scores(emit: Emitter, query: ir.Value, same: ir.Value, found: SegmentKeys, prefix: str) -> ir.Value:
    """Write what segments add to a layer's scores, [B, N, S, S]. query: [B, S, attention size]."""
    name = f"{prefix}segment"
    keys, offsets = emit.constant(f"{name}_keys", found.keys), emit.constant(f"{name}_offsets", found.offsets)
    products = emit.op("MatMul", query, keys, name=f"{name}_products")
    products = emit.op("Add", products, offsets, name=f"{prefix}{NUMBERS}")  # [B, S, N]
    heads = emit.op("Transpose", products, perm=[0, 2, 1], name=f"{name}_heads")
    axis = emit.constant(f"{name}_axis", np.array([3], np.int64))
    heads = emit.op("Unsqueeze", heads, axis, name=f"{name}_of_keys")
    return emit.op("Mul", heads, same, name=f"{name}_scores")


def scores_without_segments(bias: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """Read back what is added to a layer's scores: what is left without segments, and the numbers [B, S, heads] that
    keys of a query's own segment get; None where there is no such thing."""
    total = None if bias is None else bias.producer()
    if total is None or total.op_type != "Add" or total.inputs[1] is None:
        return bias, None
    product = total.inputs[1].producer()
    if product is None or product.op_type != "Mul" or product.inputs[1] is None or product.inputs[1].name != SAME:
        return bias, None
    value = product.inputs[0]
    for op_type in ("Unsqueeze", "Transpose"):
        node = None if value is None else value.producer()
        assert node is not None and node.op_type == op_type, "as `emit_segment_scores` writes them"
        value = node.inputs[0]
    return total.inputs[0], value
