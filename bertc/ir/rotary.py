"""Rotary positions (Su et al. 2021, arXiv:2104.09864) as one node, and its meaning in standard operators.

`bertc::Rotary(x, positions, cos, sin)` has the attribute `split`, [0, 0, heads, head_size]. x: float [batch, length,
hidden]; positions: int64 [batch, length], each token's in its sentence; cos, sin: float [positions, head_size / 2]. In
every head, channel i of the first half and channel i of the second are turned together by the angle of their position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.architecture import Rotary
from bertc.ir.emit import DOMAIN, OPSET, Emitter
from bertc.ir.refusal import not_written

OP_TYPE = "Rotary"


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryInputs:
    """The inputs of one node."""

    x: ir.Value
    positions: ir.Value
    cos: ir.Value
    sin: ir.Value

    def values(self) -> tuple[ir.Value, ...]:
        """The inputs in the function's order."""
        return self.x, self.positions, self.cos, self.sin


def is_rotary(node: ir.Node | None) -> bool:
    """Say whether a node turns by positions."""
    return node is not None and node.domain == DOMAIN and node.op_type == OP_TYPE


def rotary_inputs(node: ir.Node) -> RotaryInputs:
    """Read a node back."""
    assert is_rotary(node)
    x, positions, cos, sin = node.inputs
    assert x is not None and positions is not None and cos is not None and sin is not None
    return RotaryInputs(x=x, positions=positions, cos=cos, sin=sin)


def refuse_rotary(graph: ir.Model, runtime: str) -> None:
    """Raise an `InputError` where a model has rotary positions, for a runtime that they are not written for."""
    turned = [str(node.outputs[0].name) for node in graph.graph if is_rotary(node)]
    if turned:
        raise not_written(turned[0], "rotary positions", runtime)


def rotary_tables(rotary: Rotary, positions: int, head_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cos and sin of positions' angles, [positions, d / 2], in float32 as transformers computes them."""
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    frequencies = np.float32(1) / np.power(np.float32(rotary.base), exponents) / np.float32(rotary.stretch)
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)


def emit_rotary(emit: Emitter, inputs: RotaryInputs, split: ir.Value, merge: ir.Value, prefix: str) -> ir.Value:
    """Write the body; split: [0, 0, heads, head_size], merge: [0, 0, hidden]. Returns [B, S, hidden]."""
    axis = emit.op("Constant", value_ints=[2], name=f"{prefix}head_axis")

    def rows(table: ir.Value, name: str) -> ir.Value:
        found = emit.op("Gather", table, inputs.positions, name=f"{prefix}{name}_rows")  # [B, S, d / 2]
        return emit.op("Unsqueeze", found, axis, name=f"{prefix}{name}")  # [B, S, 1, d / 2]

    heads = emit.op("Reshape", inputs.x, split, name=f"{prefix}heads")
    first, second = emit.ops("Split", heads, names=(f"{prefix}first", f"{prefix}second"), axis=-1, num_outputs=2)
    cos, sin = rows(inputs.cos, "cos"), rows(inputs.sin, "sin")

    def part(left: ir.Value, right: ir.Value, op_type: str, name: str) -> ir.Value:
        along = emit.op("Mul", left, cos, name=f"{prefix}{name}_along")
        across = emit.op("Mul", right, sin, name=f"{prefix}{name}_across")
        return emit.op(op_type, along, across, name=f"{prefix}{name}_turned")

    halves = part(first, second, "Sub", "first"), part(second, first, "Add", "second")
    turned = emit.op("Concat", *halves, name=f"{prefix}turned", axis=-1)
    return emit.op("Reshape", turned, merge, name=f"{prefix}rotary")


def rotary_function() -> ir.Function:
    """Return the ONNX function, so that any runtime executes a graph that still has the node."""
    emit = Emitter()
    inputs = RotaryInputs(**{name: ir.Value(name=f"in_{name}") for name in ("x", "positions", "cos", "sin")})
    split = emit.op("Constant", value_ints=ir.RefAttr("value_ints", "split", ir.AttributeType.INTS), name="split")
    merge = emit.op("Constant", value_ints=[0, 0, -1], name="merge")
    turned = emit_rotary(emit, inputs, split, merge, "")
    graph = ir.Graph(inputs.values(), [turned], nodes=emit.nodes, opset_imports={"": OPSET})
    return ir.Function(DOMAIN, OP_TYPE, graph=graph, attributes=[ir.Attr("split", ir.AttributeType.INTS, None)])
