"""The bookkeeping of the ONNX Runtime dialect: which values of the source are already written, and under what name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.ir.emit import Emitter
from bertc.ir.rms_norm import is_norm
from bertc.ir.sentences import emit_visible

MICROSOFT = "com.microsoft"
IR_VERSION = 8
ZERO_POINT = 128


class Lowering:
    """Writes a new graph from an old one, by demand. Lives for one call of a dialect's `lower_graph`."""

    def __init__(self, source: ir.Model, lower_node: Callable[[Lowering, ir.Value, ir.Node], ir.Value]) -> None:
        self.source = source
        self.emit = Emitter()
        self.done: dict[ir.Value, ir.Value] = {}
        self._lower_node = lower_node
        self._constants: dict[str, ir.Value] = {}
        self._masks: dict[tuple[ir.Value, ir.Value | None], ir.Value] = {}

    def model(self, opset: int) -> ir.Model:
        """Write everything the outputs need and return the new model, with the source's inputs and outputs."""
        inputs = []
        for value in self.source.graph.inputs:
            fresh = ir.val(str(value.name), dtype=value.dtype, shape=value.shape)
            self.done[value] = fresh
            inputs.append(fresh)
        # In order, so that recursion stays shallow whatever the number of layers.
        for node in self.source.graph:
            if is_norm(node):
                self.value(node.outputs[0])
        outputs = []
        for value in self.source.graph.outputs:
            result = self.value(value)
            assert value.dtype is not None
            result.dtype, result.shape = value.dtype, value.shape
            outputs.append(result)
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self.emit.nodes,
            initializers=self.emit.initializers,
            opset_imports={"": opset, MICROSOFT: 1},
            name="bertc",
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="bertc")

    def value(self, value: ir.Value) -> ir.Value:
        """Return the new graph's value for one of the old, writing it if it is not there yet."""
        if value not in self.done:
            if value.const_value is not None:
                self.done[value] = self.emit.constant(str(value.name), value.const_value.numpy())
            else:
                node = value.producer()
                assert node is not None, f"{value.name} is neither an input, a constant nor computed"
                self.done[value] = self._lower_node(self, value, node)
        return self.done[value]

    def array(self, value: ir.Value) -> Any:
        """Return the array of a constant of the source."""
        assert value.const_value is not None, f"{value.name} is no constant"
        return value.const_value.numpy()

    def uses(self, value: ir.Value) -> int:
        """Number of consumers in the source."""
        return len(value.uses())

    def constant(self, name: str, array: Any) -> ir.Value:
        """Return a shared constant of the new graph."""
        if name not in self._constants:
            self._constants[name] = self.emit.constant(name, array)
        return self._constants[name]

    def mask_int32(self, sentences: ir.Value, mask: ir.Value, near: ir.Value | None) -> ir.Value:
        """Return which keys each query sees, int32 [B, Q, S], once for all layers with the same queries and window."""
        if (sentences, near) not in self._masks:
            within = None if near is None else self.value(near)
            visible = emit_visible(self.emit, self.value(sentences), self.value(mask), within, "mask.")
            shown = self.emit.op("Cast", visible, to=int(ir.DataType.INT32), name="attention_mask_int32")
            self._masks[sentences, near] = shown
        return self._masks[sentences, near]

    def zero_point(self, signed: int) -> ir.Value:
        """Return the zero point of activations stored unsigned, 128 above that of the source's codes."""
        unsigned = ZERO_POINT + signed
        name = "activation_zero_point" if signed == 0 else f"activation_zero_point_{unsigned}"
        return self.constant(name, np.uint8(unsigned))
