"""TensorRT: explicit Q/DQ in standard operators, placed where TensorRT fuses it; scalar scales on activations.

In: a float or Q/DQ graph, and the kind of attention (`decomposed`, `packed`, `kernel` of this room). Out: the same
function with int32 inputs, opset 20, which ONNX Runtime executes as it stands. `half` types embeddings and encoder in
FP16, scales included, as a strongly typed network wants it; the head stays in FP32. Without it everything is FP32: the
variant in which the numbers are checked. `fp8` makes the codes E4M3 (`bertc.export.tensorrt.fp8`).

TensorRT quantizes activations per tensor only, so a scale per column g folds into the weights' scale, w_scale / g, the
GEMM's output is quantized with 1, and `Mul(g)` stands before the bias (docs/modes.md). A smoothed residual is its codes
with the site's one scale, then `Mul(m)`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.export.half import use_half
from bertc.export.tensorrt.decomposed import lower_attention, refuse_bias
from bertc.export.tensorrt.fp8 import use_fp8
from bertc.export.tensorrt.kernel import lower_to_kernel
from bertc.export.tensorrt.limits import DECOMPOSED, KERNEL, PACKED
from bertc.export.tensorrt.packed import lower_to_packed
from bertc.ir.disentangled import refuse_position_scores
from bertc.ir.edit import insert_after, remove_unused, set_constant
from bertc.ir.emit import DOMAIN, OPSET, Emitter, array_of
from bertc.ir.rms_norm import refuse_rms_norm
from bertc.ir.rotary import refuse_rotary
from bertc.ir.sentences import unpack_rows
from bertc.ir.sites import Role

FLOAT_ROLES: dict[Role, str] = {}


def lower_graph(graph: ir.Model, *, attention: str = DECOMPOSED, half: bool = False, fp8: bool = False) -> ir.Model:
    """Return the graph in the operators that TensorRT reads. Raises `InputError` for what the attention cannot take."""
    refuse_position_scores(graph, "TensorRT")
    refuse_rotary(graph, "TensorRT")
    refuse_rms_norm(graph, "TensorRT")
    model = graph.clone()
    unpack_rows(model)  # what it does with padding is its own: profiles, or a row of tokens
    _restore_tables(model)
    for node in list(model.graph):
        if node.op_type == "QuantizeLinear" and np.ndim(array_of(node.inputs[1])):
            _quantize_with_one_scale(model, node)
    for node in list(model.graph):
        if node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].const_value is None:
            _dequantize_with_one_scale(model, node)
    if attention != DECOMPOSED:
        refuse_bias(model, attention)
    own = {KERNEL: lower_to_kernel, PACKED: lower_to_packed}
    own.get(attention, partial(lower_attention, attention=attention))(model)
    for identifier in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[identifier]
    model.opset_imports.pop(DOMAIN, None)
    model.opset_imports[""] = OPSET
    for value in model.graph.inputs:
        value.type = ir.TensorType(ir.DataType.INT32)
    remove_unused(model)
    if fp8:
        use_fp8(model)
    if half:
        use_half(model)
    return model


def _restore_tables(model: ir.Model) -> None:
    """Make the embedding tables that are stored as INT8 float again: TensorRT casts no INT8, and folds no gather."""
    for node in list(model.graph):
        codes = node.inputs[0] if node.op_type == "Cast" else None
        lookup = None if codes is None else codes.producer()
        table = None if lookup is None or not lookup.inputs else lookup.inputs[0]
        if lookup is None or table is None or table.const_value is None or table.dtype != ir.DataType.INT8:
            continue
        (use,) = node.outputs[0].uses()
        product = use.node
        scales = product.inputs[1 - use.idx]
        scale_lookup = None if scales is None else scales.producer()
        assert product.op_type == "Mul" and scale_lookup is not None
        emit = Emitter()
        rows = array_of(table).astype(np.float32) * array_of(scale_lookup.inputs[0])
        name = str(product.outputs[0].name)
        floats = emit.constant(f"{str(table.name).removesuffix('.codes')}.table", rows)
        attributes = {key: attribute.value for key, attribute in lookup.attributes.items()}
        result = emit.op(lookup.op_type, floats, *lookup.inputs[1:], name=f"{name}.floats", **attributes)
        insert_after(model, product.outputs[0], emit, result, list(product.outputs[0].uses()))


def _quantize_with_one_scale(model: ir.Model, node: ir.Node) -> None:
    """Quantize with 1 what was divided by the columns' scales g before: in the weights behind which it stands."""
    operand, scale, zero_point = node.inputs
    assert operand is not None and scale is not None and zero_point is not None
    columns = array_of(scale)
    gemm = operand.producer()
    weight = None if gemm is None or gemm.op_type != "MatMul" or len(operand.uses()) != 1 else gemm.inputs[1]
    emit = Emitter()
    name = str(node.outputs[0].name)
    one = emit.constant(f"{name}.one", np.float32(1))
    zero = emit.constant(f"{name}.zero", np.int8(0))
    divided = operand
    if weight is None or not _divide_weight(weight, columns):
        inverse = emit.constant(f"{name}.inverse", np.float32(1) / columns)
        divided = emit.op("Mul", operand, inverse, name=f"{name}.divided")
    model.graph.insert_before(node, emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    for place, value in enumerate((divided, one, zero)):
        node.replace_input_with(place, value)
    node.attributes.pop("axis", None)


def _divide_weight(weight: ir.Value, columns: Any) -> bool:
    """Divide a GEMM's weight per column: its scale, or itself if it is float. False where it is neither."""
    if weight.const_value is not None:
        set_constant(weight, (array_of(weight) / columns).astype(np.float32))
        return True
    node = weight.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[1] is None:
        return False
    set_constant(node.inputs[1], (array_of(node.inputs[1]) / columns).astype(np.float32))
    node.attributes["axis"] = ir.AttrInt64("axis", 1)
    return True


def _dequantize_with_one_scale(model: ir.Model, node: ir.Node) -> None:
    """Dequantize with the scale that the codes were quantized with, and multiply by what is left of a vector."""
    codes, scale = node.inputs[0], node.inputs[1]
    assert codes is not None and scale is not None
    vector = array_of(scale)
    quantize = codes.producer()
    if not np.ndim(vector) or quantize is None:
        return
    value = node.outputs[0]
    uses = list(value.uses())
    emit = Emitter()
    factors = np.asarray(vector / array_of(quantize.inputs[1]), np.float32)
    floats = emit.op("DequantizeLinear", codes, *quantize.inputs[1:], name=f"{value.name}.scalar")
    vector_value = emit.constant(f"{value.name}.factors", factors)
    product = emit.op("Mul", floats, vector_value, name=f"{value.name}.scaled")
    insert_after(model, value, emit, product, uses)
