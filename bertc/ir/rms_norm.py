"""RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) as one node, and its meaning in standard operators.

`bertc::RMSNorm(x, gamma)` has the attribute `epsilon`: x / sqrt(mean(x^2) + epsilon) * gamma over the last axis. No
mean is taken off, as LayerNorm does, and nothing added. x: float [..., width]; gamma: float [width].
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.ir.emit import DOMAIN, OPSET, Emitter
from bertc.ir.refusal import not_written

OP_TYPE = "RMSNorm"


def is_rms_norm(node: ir.Node | None) -> bool:
    """Say whether a node is an RMSNorm."""
    return node is not None and node.domain == DOMAIN and node.op_type == OP_TYPE


def is_norm(node: ir.Node | None) -> bool:
    """Say whether a node is a LayerNorm or an RMSNorm."""
    return is_rms_norm(node) or (node is not None and node.op_type == "LayerNormalization")


def refuse_rms_norm(graph: ir.Model, runtime: str) -> None:
    """Raise an `InputError` where a model has RMSNorm, for a runtime that it is not written for."""
    normed = [str(node.outputs[0].name) for node in graph.graph if is_rms_norm(node)]
    if normed:
        raise not_written(normed[0], "RMSNorm", runtime)


def emit_rms_norm(emit: Emitter, x: ir.Value, gamma: ir.Value, epsilon: ir.Value, prefix: str) -> ir.Value:
    """Write the body; epsilon: float []. Returns x's shape."""
    axes = emit.op("Constant", value_ints=[-1], name=f"{prefix}axes")
    two = emit.op("Constant", value_float=2.0, name=f"{prefix}two")
    squares = emit.op("Pow", x, two, name=f"{prefix}squares")  # of x * x OpenVINO makes no RMS behind an INT8 product
    mean = emit.op("ReduceMean", squares, axes, name=f"{prefix}mean", keepdims=1)
    root = emit.op("Sqrt", emit.op("Add", mean, epsilon, name=f"{prefix}above_zero"), name=f"{prefix}root")
    return emit.op("Mul", emit.op("Div", x, root, name=f"{prefix}normed"), gamma, name=f"{prefix}scaled")


def rms_norm_function() -> ir.Function:
    """Return the ONNX function, so that any runtime executes a graph that still has the node."""
    emit = Emitter()
    x, gamma = ir.Value(name="in_x"), ir.Value(name="in_gamma")
    attribute = ir.RefAttr("value_float", "epsilon", ir.AttributeType.FLOAT)
    epsilon = emit.op("Constant", value_float=attribute, name="epsilon")
    scaled = emit_rms_norm(emit, x, gamma, epsilon, "")
    graph = ir.Graph([x, gamma], [scaled], nodes=emit.nodes, opset_imports={"": OPSET})
    return ir.Function(DOMAIN, OP_TYPE, graph=graph, attributes=[ir.Attr("epsilon", ir.AttributeType.FLOAT, None)])


def epsilon_of(node: ir.Node) -> np.float32:
    """Return what a node adds to the mean of the squares."""
    assert is_rms_norm(node)
    return np.float32(node.attributes["epsilon"].as_float())
