"""Attention as one node, and its meaning in standard operators.

`bertc::Attention(query, key, value, sentences, mask)` has the attributes `split` and `scaling`. Two further functions
carry the scales of the Q/DQ pairs inside: `bertc::AttentionProbs(..., probs_scale)` and
`bertc::AttentionScores(..., probs_scale, scores_scale)`; with `Unsigned` behind their names, probabilities have the
codes 0 to 255 instead of 0 to 127. query: float [batch, queries, hidden], key and value: float
[batch, length, hidden]: a query for each token, or for those that are read in the end (`bertc.ir.last_layer`).
sentences: int64 [batch, queries] and mask: int64 [batch, length], the sentence's number of each query and of each key
(`bertc.ir.sentences`; 1 where a row is one sentence, 0 for a key that is padding). Keys of padding and of other
sentences get a score of -3.4e38, as padding does in transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertc.ir.emit import DOMAIN, OPSET, Emitter
from bertc.ir.sentences import emit_visible

MASKED_SCORE = float(np.finfo(np.float32).min)
BY_SCALES = ("Attention", "AttentionProbs", "AttentionScores")
"""The functions by the number of scales they take."""

UNSIGNED = "Unsigned"
OP_TYPES = (*BY_SCALES, *(f"{name}{UNSIGNED}" for name in BY_SCALES[1:]))

FLOAT_INPUTS = 5
"""Inputs that are no scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionInputs:
    """The inputs of one attention node; a scale of None means float. `unsigned`: the probabilities' codes are."""

    query: ir.Value
    key: ir.Value
    value: ir.Value
    sentences: ir.Value
    mask: ir.Value
    probs_scale: ir.Value | None = None
    scores_scale: ir.Value | None = None
    unsigned: bool = False

    def op_type(self) -> str:
        """The function that takes these inputs."""
        assert self.scores_scale is None or self.probs_scale is not None, "scores are quantized only with probs"
        assert not self.unsigned or self.probs_scale is not None, "only codes are unsigned"
        return BY_SCALES[len(self.values()) - FLOAT_INPUTS] + UNSIGNED * self.unsigned

    def values(self) -> tuple[ir.Value, ...]:
        """The inputs in the function's order."""
        every = (self.query, self.key, self.value, self.sentences, self.mask, self.probs_scale, self.scores_scale)
        return tuple(value for value in every if value is not None)


def inputs_of(node: ir.Node) -> AttentionInputs:
    """Read an attention node back."""
    values = [value for value in node.inputs if value is not None]
    assert node.domain == DOMAIN and node.op_type in OP_TYPES
    return AttentionInputs(
        query=values[0],
        key=values[1],
        value=values[2],
        sentences=values[3],
        mask=values[4],
        probs_scale=values[5] if len(values) > 5 else None,
        scores_scale=values[6] if len(values) > 6 else None,
        unsigned=node.op_type.endswith(UNSIGNED),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """The constants of the body: [0, 0, heads, head_size], [0, 0, hidden] and 1 / sqrt(head_size)."""

    split: ir.Value
    merge: ir.Value
    scaling: ir.Value


def emit_attention(emit: Emitter, inputs: AttentionInputs, shape: AttentionShape, prefix: str) -> ir.Value:
    """Write the body; the sites inside are named `<prefix>scores` and `<prefix>probs`. Returns context [B, Q, H]."""

    def heads(value: ir.Value, name: str, perm: list[int]) -> ir.Value:
        split = emit.op("Reshape", value, shape.split, name=f"{prefix}{name}_split")
        return emit.op("Transpose", split, perm=perm, name=f"{prefix}{name}_heads")

    query = heads(inputs.query, "query", [0, 2, 1, 3])  # [B, N, Q, d]
    key = heads(inputs.key, "key", [0, 2, 3, 1])  # [B, N, d, S]
    value = heads(inputs.value, "value", [0, 2, 1, 3])
    scores = emit.op("MatMul", query, key, name=f"{prefix}scores")  # [B, N, Q, S]
    if inputs.scores_scale is not None:
        scores = emit_qdq(emit, scores, inputs.scores_scale, f"{prefix}scores")
    scaled = emit.op("Mul", scores, shape.scaling, name=f"{prefix}scores_scaled")
    axes = emit.op("Constant", value_ints=[1], name=f"{prefix}mask_axes")
    visible = emit_visible(emit, inputs.sentences, inputs.mask, prefix)
    visible = emit.op("Unsqueeze", visible, axes, name=f"{prefix}visible_keys")  # [B, 1, Q, S]
    masked_score = emit.op("Constant", value_float=MASKED_SCORE, name=f"{prefix}masked_score")
    masked = emit.op("Where", visible, scaled, masked_score, name=f"{prefix}scores_masked")
    probs = emit.op("Softmax", masked, axis=-1, name=f"{prefix}probs")
    if inputs.probs_scale is not None:
        probs = emit_qdq(emit, probs, inputs.probs_scale, f"{prefix}probs", unsigned=inputs.unsigned)
    product = emit.op("MatMul", probs, value, name=f"{prefix}context_heads")
    joined = emit.op("Transpose", product, perm=[0, 2, 1, 3], name=f"{prefix}context_split")
    return emit.op("Reshape", joined, shape.merge, name=f"{prefix}context")


def emit_qdq(emit: Emitter, value: ir.Value, scale: ir.Value, name: str, *, unsigned: bool = False) -> ir.Value:
    """Write a Q/DQ pair of a scalar scale and zero point 0 behind a value: codes -128 to 127, or 0 to 255."""
    zero = emit.op("Constant", value=ir.tensor(np.uint8(0) if unsigned else np.int8(0)), name=f"{name}.zero_point")
    codes = emit.op("QuantizeLinear", value, scale, zero, name=f"{name}.codes")
    return emit.op("DequantizeLinear", codes, scale, zero, name=f"{name}.dequantized")


def attention_function(op_type: str) -> ir.Function:
    """Return the ONNX function of one of `OP_TYPES`, so that any runtime executes a graph that still has the node."""
    emit = Emitter()
    every = ("query", "key", "value", "sentences", "mask", "probs_scale", "scores_scale")
    names = every[: FLOAT_INPUTS + BY_SCALES.index(op_type.removesuffix(UNSIGNED))]
    values = [ir.Value(name=f"in_{name}") for name in names]
    inputs = AttentionInputs(**dict(zip(names, values, strict=True)), unsigned=op_type.endswith(UNSIGNED))
    shape = AttentionShape(
        split=emit.op("Constant", value_ints=ir.RefAttr("value_ints", "split", ir.AttributeType.INTS), name="split"),
        merge=emit.op("Constant", value_ints=[0, 0, -1], name="merge"),
        scaling=emit.op(
            "Constant", value_float=ir.RefAttr("value_float", "scaling", ir.AttributeType.FLOAT), name="scaling"
        ),
    )
    context = emit_attention(emit, inputs, shape, "")
    graph = ir.Graph(values, [context], nodes=emit.nodes, opset_imports={"": OPSET})
    attributes = [
        ir.Attr("split", ir.AttributeType.INTS, None),
        ir.Attr("scaling", ir.AttributeType.FLOAT, None),
    ]
    return ir.Function(DOMAIN, op_type, graph=graph, attributes=attributes)
