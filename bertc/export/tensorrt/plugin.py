"""Attention as NVIDIA's BERT plugin, `CustomQKVToContextPluginDynamic` version 6, in INT8 with explicit scales.

The plugin takes the tokens of all texts in one row without padding, so the encoder runs without padding too
(`bertc.export.tensorrt.token_row`). Its node is a call of a function of the same name, whose body says in standard
operators what the plugin computes: TensorRT takes the plugin, because the node has the attribute `plugin_namespace`,
and any other runtime the body.

Source of inputs, attributes and arithmetic: NVIDIA/TensorRT v11.1, qkvToContextInt8InterleavedPlugin.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.export.tensorrt.decomposed import Operand, attention_nodes, context_scale, operand_of
from bertc.export.tensorrt.token_row import Row, emit_same_text, hidden_size, ints, pack_tokens, refuse_float_attention
from bertc.ir.attention import MASKED_SCORE, inputs_of
from bertc.ir.edit import insert_after
from bertc.ir.emit import OPSET, Emitter, array_of

PLUGIN_OP = "CustomQKVToContextPluginDynamic"
PLUGIN_DOMAIN = "trt.plugins"
"""Any domain will do: TensorRT's parser finds a plugin by the operator's name and its attributes."""

ATTRIBUTES = {
    "plugin_version": ir.AttributeType.STRING,
    "plugin_namespace": ir.AttributeType.STRING,
    "hidden_size": ir.AttributeType.INT,
    "num_heads": ir.AttributeType.INT,
    "dq_probs": ir.AttributeType.FLOAT,
    "use_int8_scale_max": ir.AttributeType.INT,
    "use_explicit_int8": ir.AttributeType.INT,
    "input_qkv_scale": ir.AttributeType.FLOAT,
    "output_ctx_scale": ir.AttributeType.FLOAT,
}


def lower_to_plugin(model: ir.Model) -> None:
    """Put the plugin in the place of every attention node, and the encoder into one row of tokens, in place."""
    nodes = attention_nodes(model)
    row = pack_tokens(model, inputs_of(nodes[0]).mask)
    for layer, node in enumerate(nodes):
        _lower(model, layer, node, row)
    function = plugin_function()
    model.functions[function.identifier()] = function
    model.opset_imports[PLUGIN_DOMAIN] = 1


def _lower(model: ir.Model, layer: int, node: ir.Node, row: Row) -> None:
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    inputs = inputs_of(node)
    operands = [operand_of(each) for each in (inputs.query, inputs.key, inputs.value)]
    scale, read = context_scale(context)
    if inputs.probs_scale is None or scale is None or inputs.scores_scale is not None:
        refuse_float_attention(layer, "plugin")
    shared = _shared_scale(layer, operands)
    heads = node.attributes["split"].as_ints()[2]
    emit = Emitter()
    joined = emit.op("Concat", *(each.floats for each in operands), axis=2, name=f"{prefix}qkv")  # [1, tokens, 3H]
    turned = emit.op("Transpose", joined, perm=[0, 2, 1], name=f"{prefix}qkv_turned")
    last = emit.constant(f"{prefix}last_axis", np.array([3], np.int64))
    zero = emit.constant(f"{prefix}qkv.zero_point", np.int8(0))
    image = emit.op("Unsqueeze", turned, last, name=f"{prefix}qkv_image")  # [1, 3H, tokens, 1]
    codes = emit.op("QuantizeLinear", image, shared, zero, name=f"{prefix}qkv.codes")
    attributes: dict[str, Any] = {
        "plugin_version": "6",
        "plugin_namespace": "",
        "hidden_size": hidden_size(model),
        "num_heads": heads,
        "dq_probs": float(array_of(inputs.probs_scale)),
        # 1 takes the maximum of INT8 codes instead of the scores': faster, and no part of the scheme.
        "use_int8_scale_max": 0,
        "use_explicit_int8": 1,
        "input_qkv_scale": float(array_of(shared)),
        "output_ctx_scale": float(array_of(scale)),
    }
    attended = emit.op(
        PLUGIN_OP, codes, row.ends, row.longest, name=f"{prefix}attention", domain=PLUGIN_DOMAIN, **attributes
    )
    floats = emit.op("DequantizeLinear", attended, scale, zero, name=f"{prefix}attention.dequantized")
    flat = emit.op("Squeeze", floats, last, name=f"{prefix}context_turned")
    result = emit.op("Transpose", flat, perm=[0, 2, 1], name=f"{prefix}context_joined")
    insert_after(model, read, emit, result, list(read.uses()))


def _shared_scale(layer: int, operands: list[Operand]) -> ir.Value:
    """Return the one scale of query, key and value."""
    scales = [each.scale for each in operands if each.scale is not None]
    if len(scales) != len(operands) or len({float(array_of(scale)) for scale in scales}) != 1:
        raise InputError(
            f"layer.{layer}: the plugin has one scale for query, key and value, and the graph has not; quantize it "
            "for this attention"
        )
    return scales[0]


def plugin_function() -> ir.Function:
    """Return what the plugin computes, in standard operators.

    qkv int8 [1, 3H, tokens, 1], ends int32 [batch + 1], longest (only its length counts); gives int8 [1, H, tokens, 1].
    A token attends to the tokens of its own text.
    """
    emit = Emitter()
    qkv, ends, longest = (ir.Value(name=name) for name in ("qkv", "ends", "longest"))

    def attribute(name: str, kind: str) -> ir.Value:
        reference: dict[str, Any] = {kind: ir.RefAttr(kind, name, ATTRIBUTES[name])}
        return emit.op("Constant", name=f"{name}_value", **reference)

    hidden, heads = (
        emit.op("Reshape", attribute(name, "value_int"), ints(emit, f"{name}_shape", 1), name=f"{name}_one")
        for name in ("hidden_size", "num_heads")
    )
    size = emit.op("Div", hidden, heads, name="head_size")
    zero = emit.op("Constant", value=ir.tensor(np.int8(0)), name="zero_point")
    floats = emit.op("DequantizeLinear", qkv, attribute("input_qkv_scale", "value_float"), zero, name="qkv_floats")
    shape = emit.op("Concat", ints(emit, "three", 3), heads, size, ints(emit, "rest", -1), axis=0, name="heads_shape")
    split = emit.op("Reshape", floats, shape, name="qkv_heads")  # [3, N, d, tokens]
    query, key, value = (
        emit.op("Gather", split, emit.op("Constant", value_int=place, name=f"{name}_place"), axis=0, name=name)
        for place, name in enumerate(("query", "key", "value"))
    )
    scores = emit.op("MatMul", emit.op("Transpose", query, perm=[0, 2, 1], name="query_rows"), key, name="scores")
    root = emit.op("Sqrt", emit.op("Cast", size, to=int(ir.DataType.FLOAT), name="size_float"), name="root")
    scaled = emit.op("Div", scores, root, name="scores_scaled")  # [N, tokens, tokens]
    same = emit_same_text(emit, emit.op("Shape", split, start=3, end=4, name="count"), ends)
    hide = emit.op("Constant", value_float=MASKED_SCORE, name="masked_score")
    probs = emit.op("Softmax", emit.op("Where", same, scaled, hide, name="masked"), axis=-1, name="probs")
    probs_scale = attribute("dq_probs", "value_float")
    codes = emit.op("QuantizeLinear", probs, probs_scale, zero, name="probs_codes")
    again = emit.op("DequantizeLinear", codes, probs_scale, zero, name="probs_again")
    product = emit.op("MatMul", value, emit.op("Transpose", again, perm=[0, 2, 1], name="probs_turned"), name="product")
    out_shape = emit.op("Concat", ints(emit, "one", 1), hidden, ints(emit, "out_rest", -1, 1), axis=0, name="out_shape")
    image = emit.op("Reshape", product, out_shape, name="context_image")  # [1, H, tokens, 1] of [N, d, tokens]
    context = emit.op("QuantizeLinear", image, attribute("output_ctx_scale", "value_float"), zero, name="context")
    graph = ir.Graph([qkv, ends, longest], [context], nodes=emit.nodes, opset_imports={"": OPSET})
    attributes = [ir.Attr(name, kind, None) for name, kind in ATTRIBUTES.items()]
    return ir.Function(PLUGIN_DOMAIN, PLUGIN_OP, graph=graph, attributes=attributes)
