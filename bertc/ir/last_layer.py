"""Compute of the last layer only what a classifier reads: each sentence's first token, or its last.

Keys and values of the last layer are needed for every token; its queries, and all that follows them, only for the
tokens that the head reads. Rows do not touch each other outside attention, so the answers stay the same. Of the
multiplications in a last layer's GEMMs five sixths go: 14 % of a model with 6 layers, 7 % with 12.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from bertc.ir.attention import BIAS_INPUT, OP_TYPES, SENTENCES_INPUT, inputs_of
from bertc.ir.disentangled import cut_position_scores
from bertc.ir.edit import insert_after, remove_unused, values_by_name
from bertc.ir.emit import Emitter
from bertc.ir.rms_norm import is_norm
from bertc.ir.segments import PAIRS, SAME
from bertc.ir.sentences import FIRST_TOKEN, LAST_TOKEN, FirstTokens, emit_first_places, packing_of
from bertc.ir.sites import WORDS


def slice_last_layer(graph: ir.Model) -> ir.Model:
    """Return a classifier's graph, float or Q/DQ, with a last layer for first tokens; another head's as it is."""
    values = values_by_name(graph)
    name = LAST_TOKEN if LAST_TOKEN in values else FIRST_TOKEN
    if name not in values or len(values["encoder.output"].uses()) != 1:
        return graph  # token-wise heads, and embeddings, which are served with the tokens beside them
    model = graph.clone()
    values = values_by_name(model)
    emit = Emitter()
    firsts = emit_first_places(emit, packing_of(model), last=name == LAST_TOKEN)
    attention = _before(values["encoder.output"], lambda node: node.op_type in OP_TYPES)
    hidden = _before(inputs_of(attention).query, _begins_a_layer).outputs[0]
    kept = cut_position_scores(model, str(attention.outputs[0].name).removesuffix("context"), firsts.places)
    rows = _Rows(model, emit, hidden, firsts)
    inputs = inputs_of(attention)
    whole = rows.nodes_to(inputs.key) | rows.nodes_to(inputs.value)
    for value in kept:
        whole |= rows.nodes_to(value)
        rows.done[value] = value
    if SAME in values:
        pairs = firsts.select(emit, values[PAIRS], "first.same_segment_pairs")  # [B, Q, S]
        axis = emit.constant("first.segment_axis", np.array([1], np.int64))
        rows.done[values[SAME]] = emit.op("Unsqueeze", pairs, axis, name="first.same_segment")
    if inputs.bias is not None and not kept:
        whole |= rows.nodes_to(inputs.bias)
    for node in rows.nodes_to(values["encoder.output"]) - whole:
        for place, operand in enumerate(node.inputs):
            if node is not attention and operand is not None:
                node.replace_input_with(place, rows.of(operand, whole))
    attention.replace_input_with(0, rows.of(inputs.query, whole))
    attention.replace_input_with(SENTENCES_INPUT, firsts.sentences)
    if inputs.near is not None:
        attention.replace_input_with(attention.inputs.index(inputs.near), rows.of(inputs.near, whole))
    gather = values[name].producer()
    assert gather is not None
    gather.replace_input_with(1, firsts.slots)
    insert_after(model, hidden, emit, hidden, ())
    if inputs.bias is not None and not kept:
        _cut_bias(model, attention, inputs.bias, firsts)
    remove_unused(model)
    return model


def _cut_bias(model: ir.Model, attention: ir.Node, bias: ir.Value, firsts: FirstTokens) -> None:
    """Let the attention add the bias of the first tokens, [B, 1 or heads, Q, S], in place."""
    assert bias.shape is not None, "whoever makes a bias sets its shape"
    emit = Emitter()
    if bias.shape[0] == 1:  # one for all rows: [heads, S, S]
        axis = emit.constant("first.bias_axis", np.array([0], np.int64))
        shared = emit.op("Squeeze", bias, axis, name="first.shared_bias")
        rows = emit.op("Gather", shared, firsts.places, axis=1, name="first.bias_rows")  # [heads, B, Q, S]
        chosen = emit.op("Transpose", rows, perm=[1, 0, 2, 3], name="first.bias")
    else:
        turned = emit.op("Transpose", bias, perm=[0, 2, 1, 3], name="first.bias_turned")  # [B, S, heads, S]
        rows = firsts.select(emit, turned, "first.bias_rows")
        chosen = emit.op("Transpose", rows, perm=[0, 2, 1, 3], name="first.bias")
    model.graph.insert_before(attention, emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    attention.replace_input_with(BIAS_INPUT, chosen)


def _begins_a_layer(node: ir.Node) -> bool:
    """Say whether a node gives a layer's input: a norm, or the embeddings of a model that has none behind them."""
    return is_norm(node) or node.outputs[0].name == WORDS


def _before(value: ir.Value, wanted: Callable[[ir.Node], bool]) -> ir.Node:
    """Return the wanted node that a value depends on last."""
    waiting = [value]
    while True:
        node = waiting.pop(0).producer()
        if node is not None and wanted(node):
            return node
        if node is not None:
            waiting += [operand for operand in node.inputs if operand is not None]


class _Rows:
    """The values behind some that have one row for each first token, not for each token: `done` begins with those."""

    def __init__(self, model: ir.Model, emit: Emitter, hidden: ir.Value, firsts: FirstTokens) -> None:
        self.emit = emit
        self.firsts = firsts
        self.done = {hidden: firsts.select(emit, hidden, f"{hidden.name}.first")}
        self.behind = _depending(model, {hidden}) - {hidden}
        self.of_text = _depending(model, set(model.graph.inputs)) - self.behind
        """What has a row for each token and is no part of the layer: the residual's stream, positions."""

    def nodes_to(self, value: ir.Value) -> set[ir.Node]:
        """Return the nodes between the hidden state and a value."""
        found: set[ir.Node] = set()
        waiting: list[ir.Value | None] = [value]
        while waiting:
            each = waiting.pop()
            node = each.producer() if each in self.behind and each is not None else None
            if node is not None and node not in found:
                found.add(node)
                waiting += node.inputs
        return found

    def of(self, value: ir.Value, whole: set[ir.Node]) -> ir.Value:
        """Return a value for the first tokens. Nodes of `whole` keep all tokens, so they are written a second time."""
        node = value.producer()
        if value in self.done:
            return self.done[value]
        if node in whole:
            assert node is not None
            operands = [None if each is None else self.of(each, whole) for each in node.inputs]
            attributes = {name: attribute.value for name, attribute in node.attributes.items()}
            name = f"{value.name}.first"
            self.done[value] = self.emit.op(node.op_type, *operands, name=name, domain=node.domain, **attributes)
        elif value in self.of_text:
            self.done[value] = self.firsts.select(self.emit, value, f"{value.name}.first")
        return self.done.get(value, value)


def _depending(model: ir.Model, values: set[ir.Value]) -> set[ir.Value]:
    """Return the values and all that is computed from them."""
    found = set(values)
    for node in model.graph:
        if any(operand in found for operand in node.inputs):
            found.update(node.outputs)
    return found
