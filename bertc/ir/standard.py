"""Write a graph in standard operators alone: our own nodes' bodies in their places, sites still by name."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.ir.attention import OP_TYPES, AttentionShape, emit_attention, inputs_of
from bertc.ir.emit import DOMAIN, OPSET, Emitter
from bertc.ir.rms_norm import emit_rms_norm, epsilon_of, is_rms_norm
from bertc.ir.rotary import emit_rotary, is_rotary, rotary_inputs


def standard_from_graph(graph: ir.Model) -> ir.Model:
    """Return a copy of the graph with our own nodes expanded; inside attention are `layer.<i>.scores` and `.probs`."""
    model = graph.clone()
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type in OP_TYPES:
            _expand(model, node)
        elif is_rotary(node):
            _expand_rotary(model, node)
        elif is_rms_norm(node):
            _expand_rms_norm(model, node)
    model.functions.clear()
    model.opset_imports.clear()
    model.opset_imports[""] = OPSET
    return model


def write_zero_points(model: ir.Model) -> ir.Model:
    """Give weights with a scale per channel a zero point each where they have none; return the graph, which is changed.

    ONNX lets them out. But where a session is asked for exact sums on x86 without VNNI, ONNX Runtime 1.32 writes one
    itself, of the shape of a scale per tensor, and the session fails in its first call.
    """
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or len(node.inputs) != 2:
            continue
        codes, scale = node.inputs
        if codes is None or codes.dtype != ir.DataType.INT8 or codes.const_value is None:
            continue
        assert scale is not None and scale.const_value is not None
        emit = Emitter()
        name = str(node.outputs[0].name)
        zeros = emit.constant(f"{name}.zero_point", np.zeros(scale.const_value.shape.numpy(), np.int8))
        node.resize_inputs(3)
        node.replace_input_with(2, zeros)
        model.graph.register_initializer(zeros)
    return model


def _expand(model: ir.Model, node: ir.Node) -> None:
    """Put the body of one attention node in its place."""
    context = node.outputs[0]
    prefix = str(context.name).removesuffix("context")
    emit = Emitter()
    shape = AttentionShape(
        split=emit.constant(f"{prefix}split", np.array(node.attributes["split"].as_ints(), np.int64)),
        merge=emit.constant(f"{prefix}merge", np.array([0, 0, -1], np.int64)),
        scaling=emit.constant(f"{prefix}scaling", np.float32(node.attributes["scaling"].as_float())),
    )
    inputs = inputs_of(node)
    name = str(context.name)
    context.name = f"{name}.replaced"
    _replace(model, node, emit, emit_attention(emit, inputs, shape, prefix), name)


def _expand_rotary(model: ir.Model, node: ir.Node) -> None:
    """Put the body of one rotary node in its place."""
    value = node.outputs[0]
    name = str(value.name)
    emit = Emitter()
    split = emit.constant(f"{name}.split", np.array(node.attributes["split"].as_ints(), np.int64))
    merge = emit.constant(f"{name}.merge", np.array([0, 0, -1], np.int64))
    value.name = f"{name}.replaced"
    _replace(model, node, emit, emit_rotary(emit, rotary_inputs(node), split, merge, f"{name}."), name)


def _expand_rms_norm(model: ir.Model, node: ir.Node) -> None:
    """Put the body of one RMSNorm in its place."""
    value = node.outputs[0]
    name = str(value.name)
    x, gamma = node.inputs
    assert x is not None and gamma is not None
    emit = Emitter()
    epsilon = emit.constant(f"{name}.epsilon", epsilon_of(node))
    value.name = f"{name}.replaced"
    _replace(model, node, emit, emit_rms_norm(emit, x, gamma, epsilon, f"{name}."), name)


def _replace(model: ir.Model, node: ir.Node, emit: Emitter, result: ir.Value, name: str) -> None:
    """Let what was emitted stand for a node, and its result have the name."""
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], emit.nodes, [node.outputs[0]], [result])
    result.name = name
    for value in emit.initializers:
        model.graph.register_initializer(value)
