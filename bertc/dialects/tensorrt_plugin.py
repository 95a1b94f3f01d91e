"""Attention as NVIDIA's BERT plugin, `CustomQKVToContextPluginDynamic` version 6, in INT8 with explicit scales.

The plugin takes the tokens of all texts in one row without padding, so the encoder runs without padding too: tokens are
gathered before the embeddings' norm, and spread over [batch, length] again where the head reads them (a place of
padding then holds some token's value, which the head hides). Its node is a call of a function of the same name, whose
body says in standard operators what the plugin computes: TensorRT takes the plugin, because the node has the
attribute `plugin_namespace`, and any other runtime the body.

Source of inputs, attributes and arithmetic: NVIDIA/TensorRT v11.1, qkvToContextInt8InterleavedPlugin.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.dialects.tensorrt_attention import Operand, attention_nodes, context_scale, operand_of
from bertc.errors import InputError
from bertc.graph.attention import MASKED_SCORE, inputs_of
from bertc.graph.edit import insert_after, values_by_name
from bertc.graph.emit import OPSET, Emitter, array_of
from bertc.graph.sites import Role, Site

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
ENCODER = ("layer.", "encoder.")


def lower_to_plugin(model: ir.Model) -> None:
    """Put the plugin in the place of every attention node, and the encoder into one row of tokens, in place."""
    nodes = attention_nodes(model)
    mask = inputs_of(nodes[0]).mask
    packing = _pack(model, mask)
    for layer, node in enumerate(nodes):
        _lower(model, layer, node, packing)
    function = plugin_function()
    model.functions[function.identifier()] = function
    model.opset_imports[PLUGIN_DOMAIN] = 1


class _Packing:
    """What tells the texts apart once their tokens stand in one row.

    `tokens` [tokens]: where each one stands in [batch * length]; `places` [batch, length]: where each place's token
    stands in the row; `ends` int32 [batch + 1]: the tokens before each text, and all; `longest` int32 [length].
    """

    def __init__(self, emit: Emitter, mask: ir.Value) -> None:
        flat = emit.constant("attention.flat", np.array([-1], np.int64))
        last = emit.constant("attention.last", np.array([1], np.int64))
        row = emit.op("Reshape", mask, flat, name="attention.mask_row")
        visible = emit.op("Cast", row, to=int(ir.DataType.BOOL), name="attention.visible")
        found = emit.op("NonZero", visible, name="attention.token_index")
        self.tokens = emit.op("Reshape", found, flat, name="attention.tokens")
        axis = emit.constant("attention.axis", np.array(0, np.int64))
        one, zero = (emit.constant(f"attention.{n}", np.array(v, np.int32)) for n, v in (("one", 1), ("zero", 0)))
        counted = emit.op("CumSum", row, axis, name="attention.counted")
        # A text's first place may be padding only where it has no token at all.
        index = emit.op("Max", emit.op("Sub", counted, one, name="attention.before"), zero, name="attention.index")
        shape = emit.op("Shape", mask, name="attention.shape")
        self.places = emit.op("Reshape", index, shape, name="attention.places")
        lengths = emit.op("ReduceSum", mask, last, keepdims=0, name="attention.lengths")
        sums = emit.op("CumSum", lengths, axis, name="attention.sums")
        first = emit.constant("attention.first_end", np.array([0], np.int32))
        self.ends = emit.op("Concat", first, sums, axis=0, name="attention.ends")
        # The plugin reads nothing of it but its length.
        self.longest = emit.op("Gather", mask, axis, axis=0, name="attention.longest")
        self.flat = flat


def _pack(model: ir.Model, mask: ir.Value) -> _Packing:
    """Gather the tokens before the first LayerNorm, and spread what the head reads."""
    emit = Emitter()
    packing = _Packing(emit, mask)
    model.graph.insert_before(model.graph[0], emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    total = values_by_name(model)["embeddings.sum"]
    hidden = emit.constant("attention.rows", np.array([-1, _hidden(model)], np.int64))
    model.graph.register_initializer(hidden)
    batch = emit.constant("attention.batch_axis", np.array([0], np.int64))
    model.graph.register_initializer(batch)
    pack = Emitter()
    rows = pack.op("Reshape", total, hidden, name="embeddings.rows")
    chosen = pack.op("Gather", rows, packing.tokens, axis=0, name="embeddings.tokens")
    packed = pack.op("Unsqueeze", chosen, batch, name="embeddings.packed")  # [1, tokens, H]
    insert_after(model, total, pack, packed, list(total.uses()))
    for node in list(model.graph):
        for value in node.outputs:
            uses = [use for use in value.uses() if not _is_encoder(use.node.outputs[0])]
            if _is_encoder(value) and uses:
                spread = Emitter()
                row = spread.op("Squeeze", value, batch, name=f"{value.name}.row")
                places = spread.op("Gather", row, packing.places, axis=0, name=f"{value.name}.spread")
                insert_after(model, value, spread, places, uses)
    return packing


def _is_encoder(value: ir.Value) -> bool:
    return str(value.name).startswith(ENCODER)


def _hidden(model: ir.Model) -> int:
    return int(array_of(model.graph.initializers[f"{Site(0, Role.HIDDEN).name}.gamma"]).shape[0])


def _lower(model: ir.Model, layer: int, node: ir.Node, packing: _Packing) -> None:
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    inputs = inputs_of(node)
    operands = [operand_of(each) for each in (inputs.query, inputs.key, inputs.value)]
    scale, read = context_scale(context)
    if inputs.probs_scale is None or scale is None or inputs.scores_scale is not None:
        raise InputError(
            f"layer.{layer}: the plugin computes attention in INT8 throughout, with probs and context quantized and "
            "scores not; choose --attention decomposed"
        )
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
        "hidden_size": _hidden(model),
        "num_heads": heads,
        "dq_probs": float(array_of(inputs.probs_scale)),
        # 1 takes the maximum of INT8 codes instead of the scores': faster, and no part of the scheme.
        "use_int8_scale_max": 0,
        "use_explicit_int8": 1,
        "input_qkv_scale": float(array_of(shared)),
        "output_ctx_scale": float(array_of(scale)),
    }
    attended = emit.op(
        PLUGIN_OP, codes, packing.ends, packing.longest, name=f"{prefix}attention", domain=PLUGIN_DOMAIN, **attributes
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

    def ints(name: str, *values: int) -> ir.Value:
        return emit.op("Constant", value_ints=list(values), name=name)

    hidden, heads = (
        emit.op("Reshape", attribute(name, "value_int"), ints(f"{name}_shape", 1), name=f"{name}_one")
        for name in ("hidden_size", "num_heads")
    )
    size = emit.op("Div", hidden, heads, name="head_size")
    zero = emit.op("Constant", value=ir.tensor(np.int8(0)), name="zero_point")
    floats = emit.op("DequantizeLinear", qkv, attribute("input_qkv_scale", "value_float"), zero, name="qkv_floats")
    shape = emit.op("Concat", ints("three", 3), heads, size, ints("rest", -1), axis=0, name="heads_shape")
    split = emit.op("Reshape", floats, shape, name="qkv_heads")  # [3, N, d, tokens]
    query, key, value = (
        emit.op("Gather", split, emit.op("Constant", value_int=place, name=f"{name}_place"), axis=0, name=name)
        for place, name in enumerate(("query", "key", "value"))
    )
    scores = emit.op("MatMul", emit.op("Transpose", query, perm=[0, 2, 1], name="query_rows"), key, name="scores")
    root = emit.op("Sqrt", emit.op("Cast", size, to=int(ir.DataType.FLOAT), name="size_float"), name="root")
    scaled = emit.op("Div", scores, root, name="scores_scaled")  # [N, tokens, tokens]
    same = _same_text(emit, split, ends, ints)
    hide = emit.op("Constant", value_float=MASKED_SCORE, name="masked_score")
    probs = emit.op("Softmax", emit.op("Where", same, scaled, hide, name="masked"), axis=-1, name="probs")
    probs_scale = attribute("dq_probs", "value_float")
    codes = emit.op("QuantizeLinear", probs, probs_scale, zero, name="probs_codes")
    again = emit.op("DequantizeLinear", codes, probs_scale, zero, name="probs_again")
    product = emit.op("MatMul", value, emit.op("Transpose", again, perm=[0, 2, 1], name="probs_turned"), name="product")
    out_shape = emit.op("Concat", ints("one", 1), hidden, ints("out_rest", -1, 1), axis=0, name="out_shape")
    image = emit.op("Reshape", product, out_shape, name="context_image")  # [1, H, tokens, 1] of [N, d, tokens]
    context = emit.op("QuantizeLinear", image, attribute("output_ctx_scale", "value_float"), zero, name="context")
    graph = ir.Graph([qkv, ends, longest], [context], nodes=emit.nodes, opset_imports={"": OPSET})
    attributes = [ir.Attr(name, kind, None) for name, kind in ATTRIBUTES.items()]
    return ir.Function(PLUGIN_DOMAIN, PLUGIN_OP, graph=graph, attributes=attributes)


def _same_text(emit: Emitter, split: ir.Value, ends: ir.Value, ints: Any) -> ir.Value:
    """Return bool [tokens, tokens]: whether two tokens stand in one text, by how many texts end before each."""
    count = emit.op("Squeeze", emit.op("Shape", split, start=3, end=4, name="count"), name="count_scalar")
    zero = emit.op("Constant", value_int=0, name="range_begin")
    step = emit.op("Constant", value_int=1, name="range_step")
    places = emit.op("Range", zero, count, step, name="token_places")
    column = emit.op("Unsqueeze", places, ints("column_axis", 1), name="token_column")
    borders = emit.op("Cast", ends, to=int(ir.DataType.INT64), name="borders")
    behind = emit.op("LessOrEqual", borders, column, name="behind")  # [tokens, batch + 1]
    numbers = emit.op("Cast", behind, to=int(ir.DataType.INT64), name="behind_numbers")
    texts = emit.op("ReduceSum", numbers, ints("text_axis", 1), keepdims=0, name="texts")  # [tokens]
    rows = emit.op("Unsqueeze", texts, ints("row_axis", 0), name="text_row")
    columns = emit.op("Unsqueeze", texts, ints("text_column_axis", 1), name="text_column")
    return emit.op("Equal", columns, rows, name="same")
