"""Attention for TensorRT in standard operators: the pattern that it fuses, with every Q/DQ pair beside a product.

1 / sqrt(d) is divided out of the query's scales (or float weights) and its bias, so that no node stands between a Q/DQ
pair and a product: the codes are the same, only what they mean changes. `native` has the boolean mask and the layout
[batch, heads, length, size] of TensorRT's attention layer, which the engine's build puts in the place of the operators
between `NATIVE_INPUTS` and `NATIVE_OUTPUT` (`bertc.runtime.tensorrt.attention_layer`); `decomposed` adds a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.export.tensorrt.limits import NATIVE
from bertc.ir.attention import MASKED_SCORE, AttentionInputs, inputs_of
from bertc.ir.edit import insert_after, set_constant
from bertc.ir.emit import DOMAIN, Emitter, array_of
from bertc.ir.sites import Role, Site

MASK = "attention.mask"
"""The mask of all layers: bool [batch, 1, length, length] for `native`, float [batch, 1, 1, length] added otherwise."""


def attention_nodes(model: ir.Model) -> list[ir.Node]:
    """Return the attention nodes of the compiler's own, layer by layer."""
    return [node for node in model.graph if node.domain == DOMAIN]


def refuse_bias(model: ir.Model, attention: str) -> None:
    """Raise an `InputError` where a layer adds a bias to its scores, for an attention that adds none."""
    if any(inputs_of(node).bias is not None for node in attention_nodes(model)):
        raise InputError(
            f"this model adds a bias to attention's scores, and the attention {attention} of TensorRT adds none; "
            "choose --attention decomposed"
        )


def lower_attention(model: ir.Model, attention: str) -> None:
    """Write every attention node's body, in place."""
    nodes = attention_nodes(model)
    for layer, node in enumerate(nodes):
        fold_scaling(model, layer, np.float32(node.attributes["scaling"].as_float()))
    native = attention == NATIVE
    for node in nodes:
        _lower(model, node, native=native)


def fold_scaling(model: ir.Model, layer: int, scaling: np.float32) -> None:
    """Multiply what the query's codes and floats mean by 1 / sqrt(d); a scale of the scores with them."""
    gemm, query = Site(layer, Role.QUERY_GEMM).name, Site(layer, Role.QUERY).name
    constants = model.graph.initializers
    weight_scale = constants.get(f"{gemm}.weight_scale")
    # The GEMM's output, where that is quantized, keeps its codes too: it is 1 with a scale per column (then the
    # columns' factors carry the scaling), else its scale.
    names = [f"{gemm}.bias", f"{query}.scale", f"{Site(layer, Role.SCORES).name}.scale"]
    if f"{gemm}.dequantized.factors" in constants:
        names.append(f"{gemm}.dequantized.factors")
    else:
        names.append(f"{gemm}.scale")
        names.append(f"{gemm}.weight" if weight_scale is None else f"{gemm}.weight_scale")
    for name in names:
        if name in constants:
            value = constants[name]
            set_constant(value, (array_of(value) * scaling).astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A value as floats, and the scale of the Q/DQ pair that stands on it (None: it stays in float)."""

    floats: ir.Value
    scale: ir.Value | None


def operand_of(value: ir.Value) -> Operand:
    """Look through a Q/DQ pair."""
    dequantize = value.producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or dequantize.inputs[0] is None:
        return Operand(floats=value, scale=None)
    quantize = dequantize.inputs[0].producer()
    assert quantize is not None and quantize.inputs[0] is not None
    return Operand(floats=quantize.inputs[0], scale=quantize.inputs[1])


def emit_pair(emit: Emitter, value: ir.Value, scale: ir.Value | None, name: str) -> ir.Value:
    """Write a Q/DQ pair behind a value where it has a scale."""
    if scale is None:
        return value
    zero = emit.constant(f"{name}.zero_point", np.int8(0))
    codes = emit.op("QuantizeLinear", value, scale, zero, name=f"{name}.codes")
    return emit.op("DequantizeLinear", codes, scale, zero, name=f"{name}.dequantized")


def context_scale(context: ir.Value) -> tuple[ir.Value | None, ir.Value]:
    """Return the scale of a context's Q/DQ pair (None: none) and the value that its GEMM reads."""
    uses = list(context.uses())
    if len(uses) == 1 and uses[0].node.op_type == "QuantizeLinear":
        quantize = uses[0].node
        (read,) = quantize.outputs[0].uses()
        return quantize.inputs[1], read.node.outputs[0]
    return None, context


def _lower(model: ir.Model, node: ir.Node, *, native: bool) -> None:
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    inputs = inputs_of(node)
    mask = _mask(model, inputs.mask, native=native)
    scale, read = context_scale(context)
    emit = Emitter()
    split = emit.constant(f"{prefix}split", np.array(node.attributes["split"].as_ints(), np.int64))
    merge = emit.constant(f"{prefix}merge", np.array([0, 0, -1], np.int64))
    product = _products(emit, inputs, split, mask, prefix, native=native)
    pair = emit_pair(emit, product, scale, f"{prefix}context_heads")
    joined = emit.op("Transpose", pair, perm=[0, 2, 1, 3], name=f"{prefix}context_split")
    result = emit.op("Reshape", joined, merge, name=f"{prefix}context_joined")
    uses = list(read.uses())
    insert_after(model, read, emit, result, uses)


def _products(
    emit: Emitter, inputs: AttentionInputs, split: ir.Value, mask: ir.Value, prefix: str, *, native: bool
) -> ir.Value:
    """Write the two batched products and the softmax between them; returns [B, N, S, d]."""

    def heads(value: ir.Value, role: Role, perm: list[int]) -> ir.Value:
        operand = operand_of(value)
        parts = emit.op("Reshape", operand.floats, split, name=f"{prefix}{role}_split")
        turned = emit.op("Transpose", parts, perm=perm, name=f"{prefix}{role}_heads")
        return emit_pair(emit, turned, operand.scale, f"{prefix}{role}_heads")

    query = heads(inputs.query, Role.QUERY, [0, 2, 1, 3])  # [B, N, S, d]
    key = heads(inputs.key, Role.KEY, [0, 2, 1, 3] if native else [0, 2, 3, 1])
    value = heads(inputs.value, Role.VALUE, [0, 2, 1, 3])
    if native:
        key = emit.op("Transpose", key, perm=[0, 1, 3, 2], name=f"{prefix}key_turned")
    scores = emit.op("MatMul", query, key, name=f"{prefix}scores")  # [B, N, S, S]
    scores = emit_pair(emit, scores, inputs.scores_scale, f"{prefix}scores")
    if inputs.bias is not None:
        scores = emit.op("Add", scores, inputs.bias, name=f"{prefix}scores_biased")
    if native:
        lowest = emit.constant(f"{prefix}masked_score", np.float32(MASKED_SCORE))
        scores = emit.op("Where", mask, scores, lowest, name=f"{prefix}scores_masked")
    else:
        scores = emit.op("Add", scores, mask, name=f"{prefix}scores_masked")
    probs = emit.op("Softmax", scores, axis=-1, name=f"{prefix}probs")
    probs = emit_pair(emit, probs, inputs.probs_scale, f"{prefix}probs")
    return emit.op("MatMul", probs, value, name=f"{prefix}context_heads")


def _mask(model: ir.Model, mask: ir.Value, *, native: bool) -> ir.Value:
    """Return the mask of all layers, written once, at the graph's begin."""
    known = {value.name: value for node in model.graph for value in node.outputs}
    if MASK in known:
        return known[MASK]
    emit = Emitter()
    axes = emit.constant("attention.mask_axes", np.array([1, 2], np.int64))
    visible = emit.op("Cast", mask, to=int(ir.DataType.BOOL), name="attention.visible")
    if native:
        keys = emit.op("Unsqueeze", visible, axes, name="attention.visible_keys")  # [B, 1, 1, S]
        length = emit.op("Shape", mask, start=1, end=2, name="attention.length")
        one = emit.constant("attention.one", np.array([1], np.int64))
        shape = emit.op("Concat", one, one, length, one, axis=0, name="attention.mask_shape")
        result = emit.op("Expand", keys, shape, name=MASK)
    else:
        zero = emit.constant("attention.visible_score", np.float32(0))
        lowest = emit.constant("attention.masked_score", np.float32(MASKED_SCORE))
        added = emit.op("Where", visible, zero, lowest, name="attention.added")
        result = emit.op("Unsqueeze", added, axes, name=MASK)
    model.graph.insert_before(model.graph[0], emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    return result
