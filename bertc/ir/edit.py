"""Small edits of a graph that several passes need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from bertc.ir.emit import Emitter
from bertc.ir.sites import Role, Site


def values_by_name(model: ir.Model) -> dict[str, ir.Value]:
    """Return every node's outputs by name."""
    return {str(value.name): value for node in model.graph for value in node.outputs if value.name}


def layers_of_graph(model: ir.Model) -> int:
    """Count the encoder layers of a float or Q/DQ graph."""
    values = values_by_name(model)
    layers = 0
    while Site(layers, Role.HIDDEN).name in values:
        layers += 1
    return layers


def set_constant(value: ir.Value, array: Any) -> None:
    """Replace the contents of an initializer."""
    tensor = ir.tensor(np.asarray(array, order="C"), name=value.name)
    value.const_value = tensor
    value.type = ir.TensorType(tensor.dtype)  # a clone shares its original's type object, so never set `dtype` on it
    value.shape = ir.Shape(tensor.numpy().shape)


def insert_after(model: ir.Model, value: ir.Value, emit: Emitter, replacement: ir.Value, uses: Iterable[Any]) -> None:
    """Put the emitted nodes behind a value's producer and let `uses` read `replacement` instead of the value."""
    own = set(emit.nodes)
    chosen = [use for use in uses if use.node not in own]
    producer = value.producer()
    assert producer is not None, f"{value.name} has no producer"
    model.graph.insert_after(producer, emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    for use in chosen:
        use.node.replace_input_with(use.idx, replacement)


def remove_unused(model: ir.Model) -> None:
    """Drop nodes, functions and initializers that no output needs."""
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
