"""Small edits of a graph that several passes need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from bertc.ir.emit import Emitter, array_of
from bertc.ir.sites import Role, Site

LEAST_SHARED = 4096
"""Bytes of an initializer from which on it is worth being shared."""


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


def layers_by_weights(model: ir.Model) -> list[tuple[int, ...]]:
    """Return a float graph's layers in groups that have the same weights (ALBERT's), each in order."""
    groups: list[list[int]] = []
    for layer in range(layers_of_graph(model)):
        own = _query_weight(model, layer)
        for group in groups:
            other = _query_weight(model, group[0])
            if own is other or np.array_equal(own, other):
                group.append(layer)
                break
        else:
            groups.append([layer])
    return [tuple(group) for group in groups]


def _query_weight(model: ir.Model, layer: int) -> Any:
    return array_of(model.graph.initializers[f"{Site(layer, Role.QUERY_GEMM).name}.weight"])


def share_constants(model: ir.Model) -> ir.Model:
    """Let large initializers with the same content be one; returns the same model, changed in place."""
    found: dict[Any, ir.Value] = {}
    for value in list(model.graph.initializers.values()):
        array = array_of(value)
        if array.nbytes < LEAST_SHARED:
            continue
        key = (array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).digest())
        first = found.setdefault(key, value)
        if first is not value:
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, first)
            del model.graph.initializers[str(value.name)]
    return model


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
