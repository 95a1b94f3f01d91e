"""GEMMs of the ONNX Runtime dialect: `MatMulIntegerToFloat` and, where the output is INT8, `QLinearMatMul`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.export.ort.written_values import MICROSOFT, Lowering
from bertc.ir.one_sided import zero_point_of


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedGemm:
    """A MatMul of the source whose operands are both dequantized: codes, scales and INT8 weights."""

    codes: ir.Value
    scale: ir.Value
    zero_point: int
    weight: ir.Value
    weight_scale: ir.Value


def quantized_operands(value: ir.Value) -> QuantizedGemm | None:
    """Read `value = MatMul(Dequantize(codes), Dequantize(weight))`; None when it is anything else."""
    node = value.producer()
    if node is None or node.op_type != "MatMul":
        return None
    left, right = (_dequantized(operand) for operand in node.inputs)
    if left is None or right is None or right[0].const_value is None or left[0].const_value is not None:
        return None
    codes, scale, zero_point = left
    return QuantizedGemm(codes=codes, scale=scale, zero_point=zero_point, weight=right[0], weight_scale=right[1])


def _dequantized(value: ir.Value | None) -> tuple[ir.Value, ir.Value, int] | None:
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    codes, scale = node.inputs[0], node.inputs[1]
    assert codes is not None and scale is not None
    return codes, scale, zero_point_of(node)


def gemm(low: Lowering, value: ir.Value, bias: ir.Value | None = None, name: str | None = None) -> ir.Value | None:
    """Write a GEMM with float output (and its bias), or return None when the MatMul is not quantized."""
    found = quantized_operands(value)
    if found is None:
        return None
    return low.emit.op(
        "MatMulIntegerToFloat",
        low.value(found.codes),
        low.value(found.weight),
        low.value(found.scale),
        low.value(found.weight_scale),
        low.zero_point(found.zero_point),
        None,  # of weights: 0; one that several products share keeps ONNX Runtime from making weights unsigned
        None if bias is None else low.value(bias),
        name=name or str(value.name),
        domain=MICROSOFT,
    )


def quantized_gemm(low: Lowering, codes: ir.Value) -> ir.Value | None:
    """Write `codes = Quantize(MatMul)` as QLinearMatMul; None when the quantized value is no quantized GEMM.

    A scale per column s_out[c] folds into the weight's, w_scale[c] / s_out[c], and the product is requantized with 1
    (docs/modes.md, the law of the column scale).
    """
    node = codes.producer()
    assert node is not None
    product, scale = node.inputs[0], node.inputs[1]
    assert product is not None and scale is not None
    found = quantized_operands(product)
    if found is None or low.uses(product) != 1:
        return None
    out_scale: Any = np.asarray(low.array(scale))
    weight_scale: Any = np.asarray(low.array(found.weight_scale))
    name = str(codes.name)
    if out_scale.ndim:
        weight_scale = (weight_scale / out_scale).astype(np.float32)
        out_scale = np.float32(1)
    weight_scales = low.emit.constant(f"{name}.weight_scale", weight_scale)
    out = low.emit.constant(f"{name}.output_scale", out_scale)
    # QLinearMatMul wants a zero point of the weight scale's own shape.
    zeros = low.emit.constant(f"{name}.weight_zero_point", np.zeros(np.shape(weight_scale), np.int8))
    return low.emit.op(
        "QLinearMatMul",
        low.value(found.codes),
        low.value(found.scale),
        low.zero_point(found.zero_point),
        low.value(found.weight),
        weight_scales,
        zeros,
        out,
        low.zero_point(zero_point_of(node)),
        name=name,
    )
