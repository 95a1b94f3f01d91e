"""The digest of a graph: of everything that it computes, weights included."""

from __future__ import annotations

import hashlib

import onnx_ir as ir

from bertc.core.keys import digest_of_array
from bertc.ir.emit import array_of


def digest_of_graph(model: ir.Model) -> str:
    """Return the sha256 over inputs, outputs, nodes, functions and weights; two graphs with the same one are alike."""
    digest = hashlib.sha256()
    for value in (*model.graph.inputs, *model.graph.outputs):
        digest.update(ir.serde.serialize_value(value).SerializeToString(deterministic=True))
    for node in model.graph:
        digest.update(ir.serde.serialize_node(node).SerializeToString(deterministic=True))
    for function in model.functions.values():
        digest.update(ir.serde.serialize_function(function).SerializeToString(deterministic=True))
    for name, value in sorted(model.graph.initializers.items()):
        array = array_of(value)
        digest.update(f"{name} {array.dtype.str} {array.shape} {digest_of_array(array)}".encode())
    return digest.hexdigest()
