"""Attention as a plugin around the compiler's own kernel (`bertc.runtime.tensorrt.kernels.row_attention`), in INT8.

The encoder runs without padding (`bertc.export.tensorrt.token_row`). The node takes the codes of query, key and value
as their Q/DQ pairs have them, each with its scale, and gives the context's codes: [1, tokens, hidden], no layout change
in between. Its scales are a tensor [5], of query, key, value, probs and context; how many heads of which size it has
stands in its name. It is a call of a function of the same name, whose body says in standard operators what the kernel
computes: TensorRT takes the plugin that the build registers (`bertc.runtime.tensorrt.kernel_plugin`), because the node
has the attribute `plugin_namespace`, and any other runtime the body.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.export.tensorrt.decomposed import attention_nodes, context_scale
from bertc.export.tensorrt.limits import KERNEL_NAMESPACE, KERNEL_OP
from bertc.export.tensorrt.token_row import Row, emit_same_text, ints, pack_tokens, refuse_float_attention
from bertc.ir.attention import MASKED_SCORE, inputs_of
from bertc.ir.edit import insert_after
from bertc.ir.emit import OPSET, Emitter, array_of

KERNEL_DOMAIN = "bertc.kernels"
INPUTS = ("query", "key", "value", "ends", "longest", "scales")
"""In the order of the kernel's parameters and of the plugin's inputs."""

SCALES = ("query", "key", "value", "probs", "context")
ATTRIBUTES = {
    "plugin_version": ir.AttributeType.STRING,
    "plugin_namespace": ir.AttributeType.STRING,
    "aot": ir.AttributeType.INT,
}


def kernel_op(heads: int, size: int) -> str:
    """Return the operator for so many heads of a size.

    >>> kernel_op(12, 64)
    'PackedInt8Attention_12x64'
    """
    return f"{KERNEL_OP}_{heads}x{size}"


def kernel_of_model(model: ir.Model) -> tuple[str, int, int] | None:
    """Return the operator that a lowered model has, its number of heads and their size; None where it has none."""
    for node in model.graph:
        found = re.fullmatch(rf"{KERNEL_OP}_(\d+)x(\d+)", node.op_type)
        if found:
            return node.op_type, int(found[1]), int(found[2])
    return None


def lower_to_kernel(model: ir.Model) -> None:
    """Put the kernel in the place of every attention node, and the encoder into one row of tokens, in place."""
    nodes = attention_nodes(model)
    row = pack_tokens(model, inputs_of(nodes[0]).mask)
    function = kernel_function(*_heads(nodes[0]))
    for layer, node in enumerate(nodes):
        _lower(model, layer, node, row)
    model.functions[function.identifier()] = function
    model.opset_imports[KERNEL_DOMAIN] = 1


def _heads(node: ir.Node) -> tuple[int, int]:
    """Return how many heads of which size an attention has."""
    return node.attributes["split"].as_ints()[2], round(node.attributes["scaling"].as_float() ** -2)


def _lower(model: ir.Model, layer: int, node: ir.Node, row: Row) -> None:
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    inputs = inputs_of(node)
    pairs = [_codes_of(each) for each in (inputs.query, inputs.key, inputs.value)]
    scale, read = context_scale(context)
    if inputs.probs_scale is None or scale is None or inputs.scores_scale is not None or None in pairs:
        refuse_float_attention(layer, "kernel")
    operands = [pair for pair in pairs if pair is not None]
    operator = kernel_op(*_heads(node))
    emit = Emitter()
    numbers = [array_of(each) for each in (*(own for _, own in operands), inputs.probs_scale, scale)]
    scales = emit.constant(f"{prefix}scales", np.array(numbers, np.float32))
    attributes: dict[str, Any] = {
        "plugin_version": "1",
        "plugin_namespace": KERNEL_NAMESPACE,
        "aot": 1,
    }
    codes = emit.op(
        operator,
        *(each for each, _ in operands),
        row.ends,
        row.longest,
        scales,
        name=f"{prefix}attention",
        domain=KERNEL_DOMAIN,
        **attributes,
    )
    zero = emit.constant(f"{prefix}attention.zero_point", np.int8(0))
    floats = emit.op("DequantizeLinear", codes, scale, zero, name=f"{prefix}attention.dequantized")
    insert_after(model, read, emit, floats, list(read.uses()))


def _codes_of(value: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """Return the codes and the scale behind a Q/DQ pair, None where there is none."""
    dequantize = value.producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    codes, scale = dequantize.inputs[0], dequantize.inputs[1]
    assert codes is not None and scale is not None
    return codes, scale


def kernel_function(heads: int, size: int) -> ir.Function:
    """Return what the kernel computes for so many heads of a size, in standard operators.

    query, key, value int8 [1, tokens, H], ends int32 [batch + 1], longest (only its length counts), scales float [5];
    gives int8 [1, tokens, H]. A token attends to the tokens of its own text.
    """
    emit = Emitter()
    values = {name: ir.Value(name=name) for name in INPUTS}

    zero = emit.op("Constant", value=ir.tensor(np.int8(0)), name="zero_point")
    floats = emit.op("Cast", values["scales"], to=int(ir.DataType.FLOAT), name="scales_float")
    scale = {
        name: emit.op(
            "Gather", floats, emit.op("Constant", value_int=place, name=f"{name}_place"), name=f"{name}_scale"
        )
        for place, name in enumerate(SCALES)
    }
    shape = ints(emit, "heads_shape", -1, heads, size)

    def split(name: str, perm: list[int]) -> ir.Value:
        numbers = emit.op("DequantizeLinear", values[name], scale[name], zero, name=f"{name}_floats")
        parts = emit.op("Reshape", numbers, shape, name=f"{name}_split")  # [tokens, N, d]
        return emit.op("Transpose", parts, perm=perm, name=f"{name}_heads")

    scores = emit.op("MatMul", split("query", [1, 0, 2]), split("key", [1, 2, 0]), name="scores")
    root = emit.op("Constant", value_float=float(np.sqrt(np.float32(size))), name="root")
    scaled = emit.op("Div", scores, root, name="scores_scaled")  # [N, tokens, tokens]
    same = emit_same_text(emit, emit.op("Shape", values["query"], start=1, end=2, name="count"), values["ends"])
    hide = emit.op("Constant", value_float=MASKED_SCORE, name="masked_score")
    probs = emit.op("Softmax", emit.op("Where", same, scaled, hide, name="masked"), axis=-1, name="probs")
    codes = emit.op("QuantizeLinear", probs, scale["probs"], zero, name="probs_codes")
    again = emit.op("DequantizeLinear", codes, scale["probs"], zero, name="probs_again")
    product = emit.op("MatMul", again, split("value", [1, 0, 2]), name="product")
    joined = emit.op("Transpose", product, perm=[1, 0, 2], name="product_joined")
    rows = emit.op("Reshape", joined, emit.op("Shape", values["query"], name="out_shape"), name="context_rows")
    context = emit.op("QuantizeLinear", rows, scale["context"], zero, name="context")
    graph = ir.Graph(list(values.values()), [context], nodes=emit.nodes, opset_imports={"": OPSET})
    attributes = [ir.Attr(name, kind, None) for name, kind in ATTRIBUTES.items()]
    return ir.Function(KERNEL_DOMAIN, kernel_op(heads, size), graph=graph, attributes=attributes)
