"""OpenVINO on CPU: standard operators alone, which its own passes turn into INT8 kernels.

In: a float or Q/DQ graph. Out: the same function in standard operators, opset 20, attention expanded. Smoothing stays
`Mul(1 / m)` before a quantization with one scale, and a scale per column stands right behind its GEMM: OpenVINO takes
both into the kernel before, and refuses a scale per column anywhere else. A smoothed residual is added as codes and
scaled behind the addition (`_add_codes`), a zero point moves from a GEMM's operand into its bias
(`_move_zero_point`), and a float GEMM that smoothing and a residual read is written twice (`_scale_apart`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.ir.edit import insert_after, remove_unused, set_constant, share_constants, values_by_name
from bertc.ir.emit import Emitter, array_of
from bertc.ir.one_sided import zero_point_of
from bertc.ir.sites import Role
from bertc.ir.standard import standard_from_graph

Array = NDArray[np.float32]
FLOAT_ROLES: dict[Role, str] = {}
RESIDUAL = ".residual"
"""Suffix of a residual that is dequantized with a scale per column (`bertc.quantize.insert`)."""


def lower_graph(graph: ir.Model) -> ir.Model:
    """Return the graph in standard operators. Raises `InputError` for a scale per column that OpenVINO refuses."""
    model = standard_from_graph(graph)
    _check_columns(model)
    for value in list(values_by_name(model).values()):
        node = value.producer()
        if str(value.name).endswith(RESIDUAL):
            _add_codes(model, value)
        elif node is not None and node.op_type == "DequantizeLinear" and zero_point_of(node):
            _move_zero_point(model, node)
        elif node is not None and node.op_type == "Mul":
            _scale_apart(model, node)
    remove_unused(model)
    return share_constants(model)


def _check_columns(model: ir.Model) -> None:
    """Refuse a quantization per column that is not behind a GEMM."""
    for node in model.graph:
        if node.op_type != "QuantizeLinear" or np.ndim(array_of(node.inputs[1])) == 0:
            continue
        operand = node.inputs[0]
        producer = None if operand is None else operand.producer()
        if producer is None or producer.op_type != "MatMul":
            raise InputError(
                f"{node.outputs[0].name}: OpenVINO quantizes with a scale per column only behind a GEMM; "
                "leave the site in float, or use granularity tensor"
            )


def _add_codes(model: ir.Model, residual: ir.Value) -> None:
    """Rewrite y + c v as (y / v + c) v, where c are codes, v the residual's scale per column, y = DQ(GEMM) + bias.

    1 / v folds into the scale and the bias of y. OpenVINO then adds and scales in one node that reads c as INT8; of
    c v + y it makes two. A residual beside a GEMM that stays in float, or that a head reads too, is left as it is.
    """
    dequantize = residual.producer()
    uses = list(residual.uses())
    assert dequantize is not None
    if len(uses) != 1:
        return
    add = uses[0].node
    biased = add.inputs[1 - uses[0].idx]
    bias_add = None if biased is None else biased.producer()
    gemm = None if bias_add is None or bias_add.inputs[0] is None else bias_add.inputs[0].producer()
    if bias_add is None or gemm is None or gemm.op_type != "DequantizeLinear":
        return
    codes, scale, _ = dequantize.inputs
    vector = array_of(scale)
    total = add.outputs[0]
    emit = Emitter()
    name = str(residual.name)
    gemm.replace_input_with(1, emit.constant(f"{name}.gemm_scale", _divided(gemm.inputs[1], vector)))
    gemm.replace_input_with(2, emit.constant(f"{name}.gemm_zero_point", np.zeros(vector.shape, np.int8)))
    gemm.attributes["axis"] = ir.AttrInt64("axis", 2)  # a range of the user's own gave one scale and no axis
    bias_add.replace_input_with(1, emit.constant(f"{name}.gemm_bias", _divided(bias_add.inputs[1], vector)))
    one = emit.constant(f"{name}.one", np.float32(1))
    zero_point = emit.constant(f"{name}.code_zero_point", np.int8(0))
    floats = emit.op("DequantizeLinear", codes, one, zero_point, name=f"{name}.codes")
    model.graph.insert_before(add, emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    add.replace_input_with(uses[0].idx, floats)
    behind = Emitter()
    scaled = behind.op("Mul", total, behind.constant(f"{name}.scale", vector), name=f"{total.name}.scaled")
    insert_after(model, total, behind, scaled, list(total.uses()))


def _move_zero_point(model: ir.Model, dequantize: ir.Node) -> None:
    """Rewrite (c - z) s W as c s W - z s 1 W, where the last term is a constant row: part of the GEMM's bias.

    OpenVINO's INT8 kernels then multiply codes without a zero point.
    """
    dequantized = dequantize.outputs[0]
    zero = Emitter().constant(f"{dequantized.name}.zero", np.int8(0))
    model.graph.register_initializer(zero)
    offset = np.float64(array_of(dequantize.inputs[1])) * zero_point_of(dequantize)
    for use in list(dequantized.uses()):
        assert use.node.op_type == "MatMul"
        weights = _dequantized_weights(use.node.inputs[1])
        _add_row(model, use.node.outputs[0], np.asarray(-offset * weights.sum(axis=0), np.float32))
    dequantize.replace_input_with(2, zero)


def _scale_apart(model: ir.Model, scale: ir.Node) -> None:
    """Rewrite (x W + b) v as x (W v) + b v where something else reads x W + b too: the projection behind embeddings.

    OpenVINO 2026.4 takes the product with v into the GEMM although its other readers then get it as well, where
    quantization follows (findings/openvino-shared-product.sh).
    """
    biased, vector = scale.inputs
    add = None if biased is None else biased.producer()
    if biased is None or add is None or add.op_type != "Add" or len(biased.uses()) == 1:
        return
    product, bias = add.inputs
    gemm = None if product is None else product.producer()
    if gemm is None or gemm.op_type != "MatMul" or vector is None or vector.const_value is None:
        return
    x, weight = gemm.inputs
    if weight is None or weight.const_value is None:
        return
    emit, name, factors = Emitter(), scale.outputs[0].name, array_of(vector)
    scaled = emit.constant(f"{name}.weight", np.asarray(array_of(weight) * factors, np.float32))
    row = emit.constant(f"{name}.bias", np.asarray(array_of(bias) * factors, np.float32))
    result = emit.op("Add", emit.op("MatMul", x, scaled, name=f"{name}.gemm"), row, name=f"{name}.apart")
    insert_after(model, scale.outputs[0], emit, result, list(scale.outputs[0].uses()))


def _dequantized_weights(value: ir.Value | None) -> NDArray[np.float64]:
    """Return the weights [in, out] that stand behind a Q/DQ graph's MatMul."""
    node = None if value is None else value.producer()
    assert node is not None and node.op_type == "DequantizeLinear"
    codes, scale = node.inputs[0], node.inputs[1]
    return np.asarray(np.multiply(array_of(codes), array_of(scale), dtype=np.float64))


def _add_row(model: ir.Model, product: ir.Value, row: Array) -> None:
    """Add a constant row to a GEMM's output: in its bias where that follows at once, else in an addition of its own."""
    uses = list(product.uses())
    bias = uses[0].node.inputs[1 - uses[0].idx] if len(uses) == 1 and uses[0].node.op_type == "Add" else None
    if bias is not None and bias.const_value is not None:
        set_constant(bias, array_of(bias) + row)
        return
    emit = Emitter()
    total = emit.op("Add", product, emit.constant(f"{product.name}.offset", row), name=f"{product.name}.moved")
    insert_after(model, product, emit, total, uses)


def _divided(value: ir.Value | None, vector: Array) -> Array:
    return np.asarray(array_of(value) / vector, np.float32)
