"""Weights as unsigned codes: the same numbers, and sums of products with them are exact on x86 without VNNI.

ONNX Runtime does it itself where a session asks for it (`session.x64quantprecision`), unless products share weights or
zero points, as ALBERT's layers do: 1.32 then fails.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of

WEIGHTS = {
    "QAttention": (1, 7),
    "MatMulIntegerToFloat": (1, 5),
    "MatMulInteger": (1, 3),
    "DynamicQuantizeMatMul": (1, 3),
    "QLinearMatMul": (3, 5),
    "DequantizeLinear": (0, 2),
}
"""The numbers of a product's weights and of their zero point among its inputs."""

HALF = 128


def make_weights_unsigned(model: ir.Model) -> ir.Model:
    """Add 128 to INT8 weights and their zero points, each once; return the model, which is changed."""
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        if node.op_type not in WEIGHTS:
            continue
        weights, zero = WEIGHTS[node.op_type]
        value = node.inputs[weights]
        if value is None or value.const_value is None or value.dtype != ir.DataType.INT8:
            continue
        assert all(use.node.op_type in WEIGHTS for use in value.uses()), f"{value.name} is more than a weight"
        found[value] = None
        point = node.inputs[zero] if len(node.inputs) > zero else None
        if point is None:
            node.resize_inputs(max(zero + 1, len(node.inputs)))
            scale = node.inputs[1] if node.op_type == "DequantizeLinear" else None  # whose shape its zero point has
            node.replace_input_with(zero, _zero_point(model, value, () if scale is None else array_of(scale).shape))
        else:
            found[point] = None
    for value in found:
        set_constant(value, (array_of(value).astype(np.int16) + HALF).astype(np.uint8))
    return model


def _zero_point(model: ir.Model, weights: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """Return a zero point for weights that have none."""
    name = f"{weights.name}.unsigned_zero_point"
    if name not in model.graph.initializers:
        tensor = ir.tensor(np.full(shape, HALF, np.uint8), name=name)
        value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape(shape))
        model.graph.register_initializer(value)
    return model.graph.initializers[name]
