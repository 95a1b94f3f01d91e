"""Read the nodes of a graph once into steps that a forward pass walks: torch functions by value name.

A Q/DQ pair is one step, a `Coded`; a product of two of them reads their codes. Constants become Python values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.ir.emit import array_of
from bertc.ir.one_sided import zero_point_of
from bertc.train.fake_quantize import (
    fake_quantize,
    float32_product,
    product_of_coded,
    rescaled_values,
    stored_rows,
    values_of_coded,
)
from bertc.train.operators import OPERATORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node: `outputs = function(*inputs, **attributes)` by value name; `dead` is what nobody reads after it."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a graph does.

    `constants` are Python numbers and lists by value name. `quantized` names the weights that are INT8 codes, and says
    whether they have a scale per column. `factors` are the vectors by which a value is larger where it is read with
    another scale than it was quantized with.
    """

    steps: Sequence[Step]
    constants: Mapping[str, Any]
    quantized: Mapping[str, bool]
    factors: Mapping[str, NDArray[np.float32]]


def program_from_graph(model: ir.Model, initializers: Iterable[str], stored: Collection[str] = ()) -> Program:
    """Read a graph of standard operators; `initializers` are those that it reads as tensors.

    `stored` names the values that are rows of a table which the engine stores in INT8.

    Raises `InputError` for an operator that is not on the list of bertc/train/operators.py.
    """
    reader = _Reader(frozenset(initializers), frozenset(stored))
    for node in model.graph:
        reader.read(node)
    kept = {str(value.name) for value in model.graph.outputs} | reader.constants.keys() | reader.initializers
    steps = _with_codes(_with_dead(reader.steps, kept | reader.factors.keys()))
    return Program(steps=steps, constants=reader.constants, quantized=reader.quantized, factors=reader.factors)


class _Reader:
    """Reads one graph, node by node. Lives for one call of `program_from_graph`."""

    def __init__(self, initializers: frozenset[str], stored: frozenset[str]) -> None:
        self.initializers = initializers
        self.stored = stored
        self.steps: list[Step] = []
        self.constants: dict[str, Any] = {}
        self.quantized: dict[str, bool] = {}
        self.factors: dict[str, NDArray[np.float32]] = {}
        self.coded: dict[str, str] = {}  # a dequantized value: the `Coded` with the same scale that it comes from

    def read(self, node: ir.Node) -> None:
        """Add a node."""
        inputs = tuple(str(value.name) for value in node.inputs if value is not None)
        outputs = tuple(str(value.name) for value in node.outputs)
        attributes = {name: _python_value(attribute) for name, attribute in node.attributes.items()}
        if node.op_type == "Constant":
            (self.constants[outputs[0]],) = attributes.values()
        elif node.op_type == "QuantizeLinear":
            assert zero_point_of(node) == 0, "training is symmetric"
            self.steps.append(Step(function=fake_quantize, inputs=inputs[:2], outputs=outputs))
        elif node.op_type == "DequantizeLinear":
            self.dequantization(node, inputs, outputs)
        elif node.op_type == "MatMul" and self.coded:
            self.product(inputs, outputs)
        elif node.op_type in OPERATORS and not node.domain:
            function = OPERATORS[node.op_type]
            if outputs[0] in self.stored:
                function = partial(stored_rows, function)
            self.steps.append(Step(function=function, inputs=inputs, outputs=outputs, attributes=attributes))
        else:
            raise InputError(
                f"the graph's node {outputs[0]} is the operator {node.domain or 'onnx'}::{node.op_type}, which "
                "training does not know; add it to bertc/train/operators.py"
            )

    def dequantization(self, node: ir.Node, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Read DequantizeLinear: of a weight's codes, or of a value's with its own scale or with another one."""
        quantization = node.inputs[0].producer() if node.inputs[0] is not None else None
        scale = node.inputs[1]
        if quantization is None:
            self.quantized[inputs[0]] = bool(array_of(scale).ndim)
        elif quantization.inputs[1] is not scale:
            name = f"{outputs[0]}.factors"
            self.factors[name] = np.asarray(array_of(scale) / array_of(quantization.inputs[1]), np.float32)
            self.steps.append(Step(function=rescaled_values, inputs=(inputs[0], name), outputs=outputs))
            return
        self.coded[outputs[0]] = inputs[0]
        self.steps.append(Step(function=values_of_coded, inputs=inputs[:1], outputs=outputs))

    def product(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Read a MatMul of a Q/DQ graph: of codes, of values inside attention, or of what stayed in float."""
        left, right = (self.coded.get(name) for name in inputs)
        if left and right in self.quantized:
            self.steps.append(Step(function=product_of_coded, inputs=(left, right), outputs=outputs))
            return
        inside = not self.initializers.intersection(inputs)
        self.steps.append(
            Step(function=float32_product if inside else OPERATORS["MatMul"], inputs=inputs, outputs=outputs)
        )


def _python_value(attribute: Any) -> Any:
    """Return an attribute as Python has it; a tensor as a number or list."""
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return value.numpy().tolist()
    return list(value) if isinstance(value, tuple) else value


def _with_dead(steps: Sequence[Step], kept: set[str]) -> list[Step]:
    """Give every step the values that it is the last to read, and drop those that dequantize for nobody."""
    seen = set(kept)
    done: list[Step] = []
    for step in reversed(steps):
        if step.function is values_of_coded and not seen.intersection(step.outputs):
            continue
        last = tuple(name for name in dict.fromkeys((*step.inputs, *step.outputs)) if name not in seen)
        seen.update(last)
        done.append(replace(step, dead=last))
    return done[::-1]


def _with_codes(steps: Sequence[Step]) -> list[Step]:
    """Let those Q/DQ pairs keep their codes that a product reads."""
    read = {name for step in steps if step.function is product_of_coded for name in step.inputs}
    return [
        replace(step, attributes={"coded": True})
        if step.function is fake_quantize and read.intersection(step.outputs)
        else step
        for step in steps
    ]
