"""Attention of TensorRT 11 without padding: its attention layer over one row of tokens, with the texts' lengths.

The encoder runs on the tokens of all texts in one row (`bertc.export.tensorrt.token_row`). Between query, key and value
[tokens, heads, size], each behind its Q/DQ pair, and the context of that shape stand standard operators, which any
other runtime executes; the engine's build puts the attention layer in their place, in the form PACKED_NHD with `ends`
as its lengths (`bertc.runtime.tensorrt.attention_layer`). Source: NvInfer.h of TensorRT 11.1, `AttentionIOForm`,
`IAttention::setQueryLengths`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.export.tensorrt.decomposed import attention_nodes, context_scale, emit_pair, fold_scaling, operand_of
from bertc.export.tensorrt.token_row import Row, emit_same_text, pack_tokens
from bertc.ir.attention import MASKED_SCORE, AttentionInputs, inputs_of
from bertc.ir.edit import insert_after
from bertc.ir.emit import Emitter
from bertc.ir.sites import Role


def lower_to_packed(model: ir.Model) -> None:
    """Write every attention node's body, and the encoder as one row of tokens, in place."""
    nodes = attention_nodes(model)
    for layer, node in enumerate(nodes):
        fold_scaling(model, layer, np.float32(node.attributes["scaling"].as_float()))
    row = pack_tokens(model, inputs_of(nodes[0]).mask)
    same = _same_text(model, row)
    for node in nodes:
        _lower(model, node, same)


def _same_text(model: ir.Model, row: Row) -> ir.Value:
    """Return which tokens see each other, bool [tokens, tokens], written once behind the row."""
    emit = Emitter()
    count = emit.op("Shape", row.tokens, name="attention.count")
    same = emit_same_text(emit, count, row.ends, "attention.")
    node = row.ends.producer()
    assert node is not None
    model.graph.insert_after(node, emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    return same


def _lower(model: ir.Model, node: ir.Node, same: ir.Value) -> None:
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    _, _, heads, size = node.attributes["split"].as_ints()
    scale, read = context_scale(context)
    emit = Emitter()
    product = _products(emit, inputs_of(node), same, (heads, size), prefix)
    pair = emit_pair(emit, product, scale, f"{prefix}context_heads")
    merge = emit.constant(f"{prefix}merge", np.array([1, -1, heads * size], np.int64))
    joined = emit.op("Reshape", pair, merge, name=f"{prefix}context_joined")
    insert_after(model, read, emit, joined, list(read.uses()))


def _products(emit: Emitter, inputs: AttentionInputs, same: ir.Value, heads: tuple[int, int], prefix: str) -> ir.Value:
    """Write the two products and the softmax between them; returns [tokens, N, d]."""
    split = emit.constant(f"{prefix}split", np.array([-1, *heads], np.int64))

    def turned(value: ir.Value, role: Role, perm: list[int]) -> ir.Value:
        operand = operand_of(value)
        parts = emit.op("Reshape", operand.floats, split, name=f"{prefix}{role}_heads")  # [tokens, N, d]
        pair = emit_pair(emit, parts, operand.scale, f"{prefix}{role}_heads")
        return emit.op("Transpose", pair, perm=perm, name=f"{prefix}{role}_turned")

    query = turned(inputs.query, Role.QUERY, [1, 0, 2])
    key = turned(inputs.key, Role.KEY, [1, 2, 0])
    value = turned(inputs.value, Role.VALUE, [1, 0, 2])
    scores = emit.op("MatMul", query, key, name=f"{prefix}scores")  # [N, tokens, tokens]
    scores = emit_pair(emit, scores, inputs.scores_scale, f"{prefix}scores")
    lowest = emit.constant(f"{prefix}masked_score", np.float32(MASKED_SCORE))
    masked = emit.op("Where", same, scores, lowest, name=f"{prefix}scores_masked")
    probs = emit.op("Softmax", masked, axis=-1, name=f"{prefix}probs")
    probs = emit_pair(emit, probs, inputs.probs_scale, f"{prefix}probs")
    product = emit.op("MatMul", probs, value, name=f"{prefix}context_turned")
    return emit.op("Transpose", product, perm=[1, 0, 2], name=f"{prefix}context_heads")
