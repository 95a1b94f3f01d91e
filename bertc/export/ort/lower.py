"""ONNX Runtime on CPU: one node of its fused operators for each piece of a layer.

In: a float or Q/DQ graph whose quantized roles this dialect can run (`FLOAT_ROLES` are those it cannot). Out: the same
function in `QAttention`, `MatMulIntegerToFloat`, `QLinearMatMul`, `LayerNormalization`, `Gelu` and standard operators,
opset 18. Activations are stored unsigned, `code + 128` with a zero point that is 128 higher: the same numbers, for the
u8 x s8 kernels.

Lowering is by demand, from the outputs back: a value is written when something that was not fused asks for it, so a
dequantized copy that every consumer absorbed is never written.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from bertc.export.ort import attention_nodes as ort_attention
from bertc.export.ort import gemm as ort_gemm
from bertc.export.ort.no_rows import refuse_no_rows
from bertc.export.ort.written_values import MICROSOFT, Lowering
from bertc.ir.edit import share_constants
from bertc.ir.emit import DOMAIN
from bertc.ir.one_sided import zero_point_of
from bertc.ir.rms_norm import epsilon_of, is_rms_norm
from bertc.ir.rotary import is_rotary, rotary_inputs
from bertc.ir.sites import Role

OPSET = 18
"""The lowest one in which Split and the Reduce operators look as in the compiler's own graphs."""

FLOAT_ROLES = dict.fromkeys(
    (Role.QUERY_GEMM, Role.KEY_GEMM, Role.VALUE_GEMM, Role.QUERY, Role.KEY, Role.VALUE, Role.SCORES, Role.PROBS),
    "ONNX Runtime's CPU QAttention computes both batched products and the softmax in float",
)


def lower_graph(graph: ir.Model) -> ir.Model:
    """Return the graph in ONNX Runtime's operators."""
    return share_constants(refuse_no_rows(Lowering(graph, _lower_node).model(OPSET)))


def _lower_node(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write the node behind a value; its inputs are lowered on demand."""
    if is_rotary(node):
        return _lower_rotary(low, value, node)
    if is_rms_norm(node):
        return _lower_rms_norm(low, value, node)
    if node.domain == DOMAIN:
        return ort_attention.lower_attention(low, value, node)
    return LOWERED.get(node.op_type, _copy)(low, value, node)


def _copy(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write a node as it is."""
    inputs = [None if operand is None else low.value(operand) for operand in node.inputs]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    names = tuple(str(output.name) for output in node.outputs)
    results = low.emit.ops(node.op_type, *inputs, names=names, domain=node.domain, **attributes)
    for output, result in zip(node.outputs, results, strict=True):
        low.done[output] = result
    return low.done[value]


def _lower_add(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Fold a bias into the GEMM before it; write a residual addition as Sum.

    Sum, because ONNX Runtime would fuse Add and LayerNormalization into SkipLayerNormalization, which is eight times
    slower on a CPU than the two apart (docs/decisions/0002-layer-normalization.md).
    """
    left, right = node.inputs
    assert left is not None and right is not None
    if right.const_value is not None and low.uses(left) == 1:
        fused = ort_gemm.gemm(low, left, right, str(value.name))
        if fused is not None:
            return fused
    if right.const_value is None and str(value.name).startswith("layer."):
        return low.emit.op("Sum", low.value(left), low.value(right), name=str(value.name))
    return _copy(low, value, node)


def _lower_matmul(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    return ort_gemm.gemm(low, value) or _copy(low, value, node)


def _lower_gelu(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Opset 18 has no Gelu; ONNX Runtime's own is the same kernel."""
    (operand,) = node.inputs
    assert operand is not None
    tanh = node.attributes["approximate"].as_string() == "tanh"
    op_type = "FastGelu" if tanh else "Gelu"
    return low.emit.op(op_type, low.value(operand), name=str(value.name), domain=MICROSOFT)


def _lower_rotary(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write ONNX Runtime's own operator."""
    inputs = rotary_inputs(node)
    operands = [low.value(each) for each in (inputs.x, inputs.positions, inputs.cos, inputs.sin)]
    return low.emit.op("RotaryEmbedding", *operands, name=str(value.name), domain=MICROSOFT)


def _lower_rms_norm(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write ONNX Runtime's own operator, which it has in ONNX's domain."""
    x, gamma = node.inputs
    assert x is not None and gamma is not None
    epsilon = float(epsilon_of(node))
    operands = low.value(x), low.value(gamma)
    return low.emit.op("SimplifiedLayerNormalization", *operands, name=str(value.name), axis=-1, epsilon=epsilon)


def _lower_quantize(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write unsigned codes: a quantized GEMM's by QLinearMatMul, others after a division by a vector of scales."""
    operand, scale = node.inputs[:2]
    assert operand is not None and scale is not None
    fused = ort_gemm.quantized_gemm(low, value)
    if fused is not None:
        return fused
    floats, step = low.value(operand), low.value(scale)
    if np.ndim(low.array(scale)):
        floats = low.emit.op("Div", floats, step, name=f"{value.name}.divided")
        step = low.constant("one", np.float32(1))
    return low.emit.op("QuantizeLinear", floats, step, low.zero_point(zero_point_of(node)), name=str(value.name))


def _lower_dequantize(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write a dequantize; a vector of scales is a Mul behind it, since the per-axis kernel is not vectorized."""
    codes, scale = node.inputs[:2]
    assert codes is not None and scale is not None
    if codes.const_value is not None:
        return _copy(low, value, node)
    zero = low.zero_point(zero_point_of(node))
    if np.ndim(low.array(scale)) == 0:
        return low.emit.op("DequantizeLinear", low.value(codes), low.value(scale), zero, name=str(value.name))
    one = low.constant("one", np.float32(1))
    floats = low.emit.op("DequantizeLinear", low.value(codes), one, zero, name=f"{value.name}.floats")
    return low.emit.op("Mul", floats, low.value(scale), name=str(value.name))


LOWERED: dict[str, Callable[[Lowering, ir.Value, ir.Node], ir.Value]] = {
    "Add": _lower_add,
    "MatMul": _lower_matmul,
    "Gelu": _lower_gelu,
    "QuantizeLinear": _lower_quantize,
    "DequantizeLinear": _lower_dequantize,
}
