"""Attention as one node, and its meaning in standard operators.

`bertc::Attention(query, key, value, sentences, mask)` has the attributes `split` and `scaling`. Two further functions
carry the scales of the Q/DQ pairs inside: `bertc::AttentionProbs(..., probs_scale)` and
`bertc::AttentionScores(..., probs_scale, scores_scale)`; with `Unsigned` behind their names, probabilities have the
codes 0 to 255 instead of 0 to 127. With `Biased` at the end of any name, `bias` stands behind `mask`. query: float
[batch, queries, hidden], key and value: float [batch, length, hidden]: a query for each token, or for those that are
read in the end (`bertc.ir.last_layer`). sentences: int64 [batch, queries] and mask: int64 [batch, length], the
sentence's number of each query and of each key (`bertc.ir.sentences`; 1 where a row is one sentence, 0 for a key that
is padding). bias: float [1 or batch, 1 or heads, queries, length], added to the scaled scores; whoever makes it sets
the value's shape. With `Local` behind all that, `near` follows: bool [batch, queries, length], the keys that are in
each query's window. Other keys, those of padding and of other sentences get a score of -3.4e38, as padding does in
transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertc.ir.emit import DOMAIN, OPSET, Emitter
from bertc.ir.sentences import emit_visible

MASKED_SCORE = float(np.finfo(np.float32).min)
BY_SCALES = ("Attention", "AttentionProbs", "AttentionScores")
"""The functions by the number of scales they take."""

UNSIGNED = "Unsigned"
BIASED = "Biased"
LOCAL = "Local"
UNBIASED_OP_TYPES = (*BY_SCALES, *(f"{name}{UNSIGNED}" for name in BY_SCALES[1:]))
GLOBAL_OP_TYPES = (*UNBIASED_OP_TYPES, *(f"{name}{BIASED}" for name in UNBIASED_OP_TYPES))
OP_TYPES = (*GLOBAL_OP_TYPES, *(f"{name}{LOCAL}" for name in GLOBAL_OP_TYPES))

SENTENCES_INPUT, BIAS_INPUT = 3, 5
"""Where the queries' sentences and the bias, if there is one, stand among a node's inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionInputs:
    """The inputs of one attention node; a scale of None means float. `unsigned`: the probabilities' codes are.

    A bias of None adds nothing, without `near` all keys are.
    """

    query: ir.Value
    key: ir.Value
    value: ir.Value
    sentences: ir.Value
    mask: ir.Value
    bias: ir.Value | None = None
    near: ir.Value | None = None
    probs_scale: ir.Value | None = None
    scores_scale: ir.Value | None = None
    unsigned: bool = False

    def op_type(self) -> str:
        """The function that takes these inputs."""
        assert self.scores_scale is None or self.probs_scale is not None, "scores are quantized only with probs"
        assert not self.unsigned or self.probs_scale is not None, "only codes are unsigned"
        scales = sum(scale is not None for scale in (self.probs_scale, self.scores_scale))
        biased, local = self.bias is not None, self.near is not None
        return BY_SCALES[scales] + UNSIGNED * self.unsigned + BIASED * biased + LOCAL * local

    def values(self) -> tuple[ir.Value, ...]:
        """The inputs in the function's order."""
        floats = (self.query, self.key, self.value, self.sentences, self.mask, self.bias, self.near)
        return tuple(value for value in (*floats, self.probs_scale, self.scores_scale) if value is not None)


def inputs_of(node: ir.Node) -> AttentionInputs:
    """Read an attention node back."""
    assert node.domain == DOMAIN and node.op_type in OP_TYPES
    return _inputs_from_values([value for value in node.inputs if value is not None], node.op_type)


def _input_names(op_type: str) -> list[str]:
    """Return the names of a function's inputs, in order."""
    names = ["query", "key", "value", "sentences", "mask"]
    names += ["bias"] if BIASED in op_type else []
    names += ["near"] if LOCAL in op_type else []
    scales = BY_SCALES.index(op_type.removesuffix(LOCAL).removesuffix(BIASED).removesuffix(UNSIGNED))
    return names + ["probs_scale", "scores_scale"][:scales]


def _inputs_from_values(values: Sequence[ir.Value], op_type: str) -> AttentionInputs:
    """Give the inputs of a function their names."""
    return AttentionInputs(**dict(zip(_input_names(op_type), values, strict=True)), unsigned=UNSIGNED in op_type)


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
    if inputs.bias is not None:
        scaled = emit.op("Add", scaled, inputs.bias, name=f"{prefix}scores_biased")
    axes = emit.op("Constant", value_ints=[1], name=f"{prefix}mask_axes")
    visible = emit_visible(emit, inputs.sentences, inputs.mask, inputs.near, prefix)
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
    values = [ir.Value(name=f"in_{name}") for name in _input_names(op_type)]
    inputs = _inputs_from_values(values, op_type)
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
