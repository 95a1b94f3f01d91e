"""Which values are needed for all tokens, and which for one of each text alone: the last layer's, mostly.

What a classifier reads of the last layer is its first tokens' rows, XLNet's the last ones'. Nothing but attention mixes
rows, so all that follows the last layer's keys and values is needed for those only (`bertc.ir.last_layer` is the same
for other engines).
"""

from __future__ import annotations

import onnx_ir as ir

from bertc.ir.attention import OP_TYPES, inputs_of
from bertc.ir.disentangled import position_scores_of
from bertc.ir.emit import DOMAIN
from bertc.ir.rotary import is_rotary, rotary_inputs
from bertc.ir.segments import scores_without_segments
from bertc.ir.sentences import SENTENCES
from bertc.runtime.plan.kernel_plan import Rows
from bertc.runtime.plan.patterns import embedding_of, operands
from bertc.runtime.plan.row_patterns import chosen_of, marked_of, pooled_of

Needed = tuple[ir.Value, Rows]


def needed_rows(graph: ir.Model) -> set[Needed]:
    """Return the values that the outputs need, each with the rows it is needed for."""
    waiting = [(value, rows_of_output(value)) for value in graph.graph.outputs]
    found: set[Needed] = set()
    while waiting:
        needed = waiting.pop()
        if needed not in found:
            found.add(needed)
            waiting += _read_for(*needed)
    return found


def rows_of_output(value: ir.Value) -> Rows:
    """Return whether an output of the graph has an entry for each token or for each text."""
    assert value.shape is not None
    return Rows.TEXTS if value.shape[0] == SENTENCES else Rows.TOKENS


def _read_for(value: ir.Value, rows: Rows) -> list[Needed]:
    """Return what the node behind a value reads."""
    node = value.producer()
    if node is None or embedding_of(value) is not None:
        return []
    chosen, pooled = chosen_of(node), marked_of(node) or pooled_of(node)
    if chosen is not None:
        return [(chosen[0], Rows.TEXTS)]
    if pooled is not None:
        return [(pooled[0], Rows.TOKENS)]
    if node.domain == DOMAIN and node.op_type in OP_TYPES:
        inputs = inputs_of(node)
        found = [(inputs.query, rows), (inputs.key, Rows.TOKENS), (inputs.value, Rows.TOKENS)]
        bias, segments = scores_without_segments(inputs.bias)
        scores = None if bias is None else position_scores_of(bias)
        numbers = [(segments, rows)]
        numbers += [] if scores is None else [(scores.query, rows), (scores.key, Rows.TOKENS)]
        return found + [(value, each) for value, each in numbers if value is not None]
    if is_rotary(node):
        return [(rotary_inputs(node).x, rows)]
    return [(operand, rows) for operand in operands(node)]
