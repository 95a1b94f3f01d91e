"""FP16 for embeddings and encoder; the head stays in FP32, where a sum over tokens and its floors need the range."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.ir.attention import MASKED_SCORE
from bertc.ir.edit import insert_after, set_constant
from bertc.ir.emit import Emitter, array_of

Half = NDArray[np.float16]
ENCODER = ("embeddings.", "layer.", "encoder.", "attention.")
"""Beginnings of the names of what is typed in FP16; everything else is the head."""

MASKED_HALF = np.float32(-3e4)
"""Hides a score as well as -3.4e38 does, and leaves room in FP16 (largest 65504) for the score it is added to."""

LARGEST = float(np.finfo(np.float16).max)
WORST_SCALE = 0.01
"""Largest relative error of a scale that is written in FP16; it grows below 6.1e-5, where FP16 loses digits."""


def use_half(model: ir.Model) -> None:
    """Type embeddings and encoder in FP16, in place. Raises `InputError` naming a constant that FP16 cannot hold."""
    encoder = [node for node in model.graph if _is_encoder(node.outputs[0])]
    for value in _constants(encoder):
        set_constant(value, _half_from_constant(value))
    for node in encoder:
        if node.op_type == "Cast" and node.attributes["to"].as_int() == int(ir.DataType.FLOAT):
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))
    for node in encoder:
        for value in node.outputs:
            _cast_for_head(model, value)


def _is_encoder(value: ir.Value) -> bool:
    return str(value.name).startswith(ENCODER)


def _constants(nodes: list[ir.Node]) -> list[ir.Value]:
    """Return the float initializers of nodes, each once."""
    found = {
        value: None
        for node in nodes
        for value in node.inputs
        if value is not None and value.const_value is not None and value.dtype == ir.DataType.FLOAT
    }
    return list(found)


def _half_from_constant(value: ir.Value) -> Half:
    """Return a constant in FP16: a scale keeps its digits, and the score of a hidden key becomes one that FP16 has."""
    array = np.asarray(array_of(value), np.float32)
    if array.ndim == 0 and array == np.float32(MASKED_SCORE):
        return np.asarray(MASKED_HALF, np.float16)
    scaled = [use.node for use in value.uses() if use.node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    if scaled:
        return _half_from_scale(value, scaled[0])
    if np.abs(array).max(initial=0) > LARGEST:
        raise InputError(f"{value.name} has a value of {np.abs(array).max():.3g}, more than FP16 holds ({LARGEST:g})")
    return np.asarray(array, np.float16)


def _half_from_scale(value: ir.Value, node: ir.Node) -> Half:
    array = np.asarray(array_of(value), np.float32)
    codes = node.inputs[0]
    if codes is not None and codes.const_value is not None:
        # A column without a weight has the smallest of scales, which FP16 makes 0; any will do.
        used = np.asarray(array_of(codes)).any(axis=0 if array.ndim else None)
        array = np.where(used, array, np.float32(1))
    half = np.asarray(array, np.float16)
    error = np.abs(half.astype(np.float64) / array - 1).max()
    if not error <= WORST_SCALE:
        raise InputError(
            f"{value.name} is {array.min():.3g} to {array.max():.3g}, which FP16 cannot hold; leave its site in float "
            "with --keep-float"
        )
    return half


def _cast_for_head(model: ir.Model, value: ir.Value) -> None:
    """Let the head, and the outputs, read an encoder's value in FP32."""
    uses = [use for use in value.uses() if not _is_encoder(use.node.outputs[0])]
    if not uses or not _is_float(value):
        return
    emit = Emitter()
    floats = emit.op("Cast", value, to=int(ir.DataType.FLOAT), name=f"{value.name}.float")
    insert_after(model, value, emit, floats, uses)


def _is_float(value: ir.Value) -> bool:
    """Whether a value that the head reads is an activation; the others are shapes."""
    node = value.producer()
    return node is not None and node.op_type != "Shape"
