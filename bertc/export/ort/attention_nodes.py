"""Attention of the ONNX Runtime dialect: `QAttention`, `Attention` in float, `MultiHeadAttention` for the rest.

All three add -3.4e38 to masked scores and take the mask as int32 [batch, queries, length]. `QAttention` adds no bias,
so attention with a bias is the other two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.export.ort.gemm import quantized_operands
from bertc.export.ort.written_values import MICROSOFT, Lowering
from bertc.ir.attention import MASKED_SCORE, inputs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """One of q, k, v as `MatMul(x, weight) + bias`."""

    product: ir.Value
    bias: ir.Value


def lower_attention(low: Lowering, value: ir.Value, node: ir.Node) -> ir.Value:
    """Write one attention node with the projections folded in where all three read one value."""
    inputs = inputs_of(node)
    if inputs.probs_scale is not None:
        raise InputError(
            f"{value.name}: ONNX Runtime on CPU computes attention's inside in float; leave probs and scores in float"
        )
    heads = node.attributes["split"].as_ints()[2]
    attributes = {"num_heads": heads, "scale": node.attributes["scaling"].as_float()}
    mask = low.mask_int32(inputs.sentences, inputs.mask, inputs.near)
    attributes["mask_filter_value"] = MASKED_SCORE
    found = [_projection(each) for each in (inputs.query, inputs.key, inputs.value)]
    projections = [each for each in found if each is not None]
    bias = None if inputs.bias is None else low.value(inputs.bias)
    if len(projections) == 3:
        fused = _quantized(low, value, projections, mask, attributes) if bias is None else None
        fused = fused or _float(low, value, projections, _given(mask, None, bias), attributes)
        if fused is not None:
            return fused
    operands = [low.value(each) for each in (inputs.query, inputs.key, inputs.value)]
    masks = _given(None, mask, bias)
    return low.emit.op("MultiHeadAttention", *operands, *masks, name=str(value.name), domain=MICROSOFT, **attributes)


def _given(*inputs: ir.Value | None) -> tuple[ir.Value | None, ...]:
    """Leave out the optional inputs at the end that are not given."""
    last = max(place for place, value in enumerate(inputs) if value is not None)
    return inputs[: last + 1]


def _projection(value: ir.Value) -> Projection | None:
    node = value.producer()
    if node is None or node.op_type != "Add" or len(value.uses()) != 1:
        return None
    product, bias = node.inputs
    assert product is not None and bias is not None
    if bias.const_value is None or len(product.uses()) != 1:
        return None
    return Projection(product=product, bias=bias)


def _quantized(
    low: Lowering, value: ir.Value, projections: list[Projection], mask: ir.Value, attributes: Mapping[str, Any]
) -> ir.Value | None:
    """Write QAttention where the three GEMMs read the same codes."""
    gemms = [quantized_operands(each.product) for each in projections]
    first = gemms[0]
    if first is None or any(each is None or each.codes is not first.codes for each in gemms):
        return None
    found = [each for each in gemms if each is not None]
    name = str(value.name)
    weight = np.concatenate([low.array(each.weight) for each in found], axis=1)
    scales = np.concatenate(
        [np.broadcast_to(low.array(each.weight_scale), (weight.shape[1] // 3,)) for each in found]
    ).astype(np.float32)
    bias = np.concatenate([low.array(each.bias) for each in projections])
    return low.emit.op(
        "QAttention",
        low.value(first.codes),
        low.emit.constant(f"{name}.weight", weight),
        low.emit.constant(f"{name}.bias", bias),
        low.value(first.scale),
        low.emit.constant(f"{name}.weight_scale", scales),
        mask,
        low.zero_point(first.zero_point),
        low.emit.constant(f"{name}.weight_zero_point", np.zeros(scales.shape, np.int8)),
        name=name,
        domain=MICROSOFT,
        **attributes,
    )


def _float_gemm(product: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """Read `MatMul(operand, weight)` with constant weights."""
    node = product.producer()
    if node is None or node.op_type != "MatMul":
        return None
    operand, weight = node.inputs
    return (operand, weight) if operand is not None and weight is not None and weight.const_value is not None else None


def _float(
    low: Lowering,
    value: ir.Value,
    projections: list[Projection],
    masks: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
) -> ir.Value | None:
    """Write Attention where the three GEMMs are float and read the same value."""
    gemms = [_float_gemm(each.product) for each in projections]
    found = [each for each in gemms if each is not None]
    if len(found) != len(gemms) or any(operand is not found[0][0] for operand, _ in found):
        return None
    operand = found[0][0]
    name = str(value.name)
    weight = np.concatenate([low.array(weight) for _, weight in found], axis=1)
    bias = np.concatenate([low.array(each.bias) for each in projections])
    return low.emit.op(
        "Attention",
        low.value(operand),
        low.emit.constant(f"{name}.weight", weight),
        low.emit.constant(f"{name}.bias", bias),
        *masks,
        name=name,
        domain=MICROSOFT,
        **attributes,
    )
