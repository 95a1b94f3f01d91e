"""A matrix product of an ONNX file as the rules see it: its operands back to their codes, and who reads its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

MOVED = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
"""ONNX Runtime moves Q/DQ pairs over these."""

OUTPUT_ZERO = {"QLinearMatMul": 7, "QGemm": 8, "QLinearConcat": 1}
"""The number of the input that is the output's zero point, where codes out may be of another type than codes in."""

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
UNSIGNED, SIGNED = ir.DataType.UINT8, ir.DataType.INT8


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What a product reads.

    `dequantize` is the node that it comes from, over nodes of `moved` alone; None where there is none. `between` is the
    operator that keeps it from one. `codes` is the type of its codes, and `constant` says that no input reaches it.
    """

    value: ir.Value
    dequantize: ir.Node | None
    moved: tuple[str, ...]
    between: str | None
    codes: ir.DataType | None
    constant: bool

    @property
    def scale(self) -> NDArray[Any] | None:
        """The scale, where it is a constant."""
        return None if self.dequantize is None else array_of(self.dequantize.inputs[1])

    @property
    def blocked(self) -> bool:
        """Whether an axis has several scales, each for a block of it."""
        scale, block = self.scale, None if self.dequantize is None else self.dequantize.attributes.get("block_size")
        if self.dequantize is None or scale is None or block is None or block.as_int() == 0:
            return False
        axis = self.dequantize.attributes.get("axis")
        return int(scale.shape[1 if axis is None else axis.as_int()]) > 1

    @property
    def axis(self) -> int | None:
        """The axis of the operand, counted from its end, that has a scale for each index; None for one scale in all."""
        scale = self.scale
        if self.dequantize is None or scale is None or scale.size == 1 or scale.ndim > 1:
            return None
        attribute = self.dequantize.attributes.get("axis")
        axis = 1 if attribute is None else attribute.as_int()
        codes = self.dequantize.inputs[0]
        rank = len(codes.shape) if codes is not None and codes.shape is not None else 2
        axis = axis if axis < 0 else axis - rank
        # The last two axes are all that a transposed weight exchanges.
        return -3 - axis if self.moved.count("Transpose") % 2 and axis in (-1, -2) else axis

    @property
    def sizes(self) -> tuple[Any, ...]:
        """The last two sizes of the codes as they are stored."""
        codes = None if self.dequantize is None else self.dequantize.inputs[0]
        return () if codes is None or codes.shape is None else tuple(codes.shape)[-2:]

    @property
    def readers(self) -> int:
        """How many nodes read what was dequantized of these codes."""
        codes = None if self.dequantize is None else self.dequantize.inputs[0]
        if codes is None:
            return 0
        found = [use.node for use in codes.uses() if use.node.op_type == DEQUANTIZE]
        return sum(len(node.outputs[0].uses()) + node.outputs[0].is_graph_output() for node in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A product of the file, `node`, and as what it `runs`, a node of the optimized graph."""

    node: ir.Node
    left: Operand
    right: Operand
    runs: ir.Node

    @property
    def operands(self) -> tuple[Operand, Operand]:
        """Both operands."""
        return self.left, self.right

    @property
    def added(self) -> bool:
        """Whether ONNX Runtime made one Gemm of a MatMul and an Add."""
        return "MatMulAddFusion" in (self.runs.name or "")

    @property
    def bias(self) -> ir.Value | None:
        """What is added, of a Gemm and of a MatMul that became one."""
        if self.added:
            return next(value for value in self._adding.inputs if value is not self.node.outputs[0])
        return self.node.inputs[2] if self.node.op_type == "Gemm" and len(self.node.inputs) > 2 else None

    @property
    def output(self) -> ir.Value:
        """The result, with the bias that ONNX Runtime took in."""
        return self._adding.outputs[0] if self.added else self.node.outputs[0]

    @property
    def _adding(self) -> ir.Node:
        """The Add behind the node."""
        return next(iter(self.node.outputs[0].uses())).node

    @property
    def readers(self) -> tuple[ir.Node, ...]:
        """Who reads the result."""
        return tuple(use.node for use in self.output.uses())

    def number(self, name: str, default: float) -> float:
        """Return a number among the node's attributes."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else float(attribute.value)


def form_from_nodes(node: ir.Node, runs: ir.Node, *, right: int = 1) -> Form:
    """Look at a product whose operands are the first input and that of the number `right`."""
    first, second = node.inputs[0], node.inputs[right]
    assert first is not None and second is not None
    return Form(node=node, left=operand_from_value(first), right=operand_from_value(second), runs=runs)


def operand_from_value(value: ir.Value) -> Operand:
    """Follow a value back to the codes that it was made of."""
    source, moved = _before_moves(value)
    node = source.producer()
    dequantized = node is not None and node.op_type == DEQUANTIZE
    return Operand(
        value=value,
        dequantize=node if dequantized else None,
        moved=moved,
        between=None if dequantized or node is None else _between(node),
        codes=code_type(source),
        constant=is_constant(value),
    )


def _before_moves(value: ir.Value) -> tuple[ir.Value, tuple[str, ...]]:
    moved: list[str] = []
    node = value.producer()
    while node is not None and node.op_type in MOVED and node.inputs[0] is not None:
        moved.append(node.op_type)
        value = node.inputs[0]
        node = value.producer()
    return value, tuple(moved)


def _between(node: ir.Node) -> str | None:
    """Return the node's operator if it reads what was dequantized."""
    for value in node.inputs:
        if value is not None:
            before = _before_moves(value)[0].producer()
            if before is not None and before.op_type == DEQUANTIZE:
                return node.op_type
    return None


def code_type(value: ir.Value | None) -> ir.DataType | None:
    """Return the type of the codes that a value holds or was made of; None where it is not known to have any."""
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.dtype
    node = value.producer()
    if node is None:
        return value.dtype
    if node.op_type == QUANTIZE:
        return _type_written(node)
    if node.op_type == "DynamicQuantizeLinear":
        return UNSIGNED
    zero = OUTPUT_ZERO.get(node.op_type)
    if zero is not None:
        return code_type(node.inputs[zero])
    return code_type(node.inputs[0]) if _keeps_codes(node) else value.dtype


def _keeps_codes(node: ir.Node) -> bool:
    """Whether a node's result has the codes' type of its first input; a Clip of codes is seven bits' way."""
    return node.op_type in (*MOVED, DEQUANTIZE, "Clip") or node.op_type.startswith("QLinear")


def _type_written(node: ir.Node) -> ir.DataType:
    """Return the type that a QuantizeLinear writes: its zero point's, else `output_dtype`, else UINT8."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None:
        return code_type(zero) or UNSIGNED
    attribute = node.attributes.get("output_dtype")
    return ir.DataType(attribute.as_int()) if attribute is not None and attribute.as_int() else UNSIGNED


def is_constant(value: ir.Value) -> bool:
    """Whether no input of the model reaches a value."""
    if value.const_value is not None and not value.is_graph_input():
        return True
    node = value.producer()
    return node is not None and all(is_constant(each) for each in node.inputs if each is not None)


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """Return a constant's array; None for what is none, or is a constant only after folding."""
    return None if value is None or value.const_value is None else np.asarray(value.const_value.numpy())
