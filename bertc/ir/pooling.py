"""From token vectors to one vector per sentence, as nodes: the mix of layers, pooling and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bertc.core.head import Pooling
from bertc.ir.emit import Emitter
from bertc.ir.sentences import Packing, emit_first_tokens, emit_last_tokens, emit_unpacked


def emit_mix(emit: Emitter, states: Sequence[ir.Value], weights: Sequence[float]) -> ir.Value:
    """Write the mix sum_i w_i h_i / sum_i w_i of hidden states [B, S, hidden], one weight each."""
    total: ir.Value | None = None
    share = np.asarray(weights, np.float64) / sum(weights)
    for number, (state, weight) in enumerate(zip(states, share, strict=True)):
        factor = emit.constant(f"head.layer_weight_{number}", np.float32(weight))
        part = emit.op("Mul", state, factor, name=f"head.layer_part_{number}")
        total = part if total is None else emit.op("Add", total, part, name=f"head.layer_mix_{number}")
    assert total is not None
    return total


def emit_pooled(
    emit: Emitter, packing: Packing, tokens: ir.Value, hidden: int, pooling: Pooling, prefix: str = "head"
) -> ir.Value:
    """Write one vector per sentence, its padding left out. tokens: [B, S, hidden]; returns [N, hidden].

    The values' names begin with `prefix`, except those of the last token.
    """
    if pooling is Pooling.CLS:
        return emit_first_tokens(emit, packing, tokens, prefix)
    if pooling is Pooling.LAST:
        return emit_last_tokens(emit, packing, tokens)
    sentences, mask = emit_unpacked(emit, packing, tokens, hidden)
    axes = emit.constant(f"{prefix}.last", np.array([-1], np.int64))
    mask = emit.op("Unsqueeze", mask, axes, name=f"{prefix}.mask")  # [N, L, 1]
    axis = emit.constant(f"{prefix}.token_axis", np.array([1], np.int64))
    if pooling is Pooling.MAX:
        visible = emit.op("Cast", mask, to=int(ir.DataType.BOOL), name=f"{prefix}.visible")
        lowest = emit.constant(f"{prefix}.lowest", np.float32(-1e9))
        shown = emit.op("Where", visible, sentences, lowest, name=f"{prefix}.shown")
        return emit.op("ReduceMax", shown, axis, keepdims=0, name=f"{prefix}.pooled")
    weights = emit.op("Cast", mask, to=int(ir.DataType.FLOAT), name=f"{prefix}.weights")
    shown = emit.op("Mul", sentences, weights, name=f"{prefix}.shown")
    total = emit.op("ReduceSum", shown, axis, keepdims=0, name=f"{prefix}.total")
    count = emit.op("ReduceSum", weights, axis, keepdims=0, name=f"{prefix}.count")
    one = emit.constant(f"{prefix}.count_floor", np.float32(1e-9))
    count = emit.op("Max", count, one, name=f"{prefix}.count_safe")
    return emit.op("Div", total, count, name=f"{prefix}.pooled")


def emit_normalized(emit: Emitter, vectors: ir.Value) -> ir.Value:
    """Write vectors [N, hidden] divided by their length."""
    last = emit.constant("head.norm_axis", np.array([-1], np.int64))
    length = emit.op("ReduceL2", vectors, last, keepdims=1, name="head.norm")
    smallest = emit.constant("head.norm_floor", np.float32(1e-12))
    length = emit.op("Max", length, smallest, name="head.norm_safe")
    return emit.op("Div", vectors, length, name="head.normalized")
