"""Writing nodes: a thin layer over onnx_ir's tape that names every value."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

OPSET = 20
"""The opset of the compiler's own graphs: the lowest one with `Gelu`."""

IR_VERSION = 9
DOMAIN = "bertc"
"""Domain of our own functions (attention)."""


class Emitter:
    """Records nodes and initializers in order. Mutates only itself, until the graph is made of it."""

    def __init__(self) -> None:
        self._tape = ir.tape.Tape()
        self._names: set[str] = set()

    def _unique(self, name: str) -> str:
        candidate, number = name, 2
        while candidate in self._names:
            candidate, number = f"{name}.{number}", number + 1
        self._names.add(candidate)
        return candidate

    def op(self, op_type: str, *inputs: ir.Value | None, name: str, domain: str = "", **attributes: Any) -> ir.Value:
        """Record a node with one output, called `name`."""
        unique = self._unique(name)
        value = self._tape.op(op_type, list(inputs), attributes, domain=domain, name=unique)
        value.name = unique
        return value

    def ops(
        self, op_type: str, *inputs: ir.Value | None, names: tuple[str, ...], domain: str = "", **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """Record a node with several outputs; an empty name leaves that output unused."""
        unique = tuple(self._unique(name) if name else "" for name in names)
        values = self._tape.op_multi_out(
            op_type, list(inputs), attributes, num_outputs=len(names), domain=domain, name=unique[0]
        )
        for value, name in zip(values, unique, strict=True):
            value.name = name
        return tuple(values)

    def constant(self, name: str, array: Any) -> ir.Value:
        """Record an initializer."""
        unique = self._unique(name)
        return self._tape.initializer(ir.tensor(np.asarray(array, order="C"), name=unique), name=unique)

    @property
    def nodes(self) -> list[ir.Node]:
        """The recorded nodes, in order."""
        return list(self._tape.nodes)

    @property
    def initializers(self) -> list[ir.Value]:
        """The recorded initializers."""
        return list(self._tape.initializers)


def array_of(value: ir.Value | None) -> Any:
    """Return the numpy array of an initializer. The value must be one."""
    assert value is not None and value.const_value is not None, f"{value} is no constant"
    return value.const_value.numpy()
