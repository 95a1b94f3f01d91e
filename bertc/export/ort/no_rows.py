"""A batch of no rows, which ONNX Runtime's QAttention has no answer to, is an error that a caller can catch."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.ir.emit import Emitter

REFUSAL = "no_rows_are_refused"
"""The name of the node that fails, which ONNX Runtime's error names."""


def refuse_no_rows(model: ir.Model) -> ir.Model:
    """Let a graph with QAttention fail before it where the batch is empty; returns the same model, changed in place.

    The mask, which every QAttention waits for, becomes max(mask, 0 mod size): itself, and an integer division by zero
    where the mask has no entry.
    """
    if not any(node.op_type == "QAttention" for node in model.graph):
        return model
    (mask,) = [value for value in model.graph.inputs if value.name == "attention_mask"]
    uses = list(mask.uses())
    emit = Emitter()
    size = emit.op("Size", mask, name="no_rows.size")
    zero = emit.op("Mod", emit.constant("no_rows.zero", np.int64(0)), size, name=REFUSAL)
    checked = emit.op("Max", mask, zero, name="no_rows.mask")
    for use in uses:
        use.node.replace_input_with(use.idx, checked)
    for value in emit.initializers:
        model.graph.register_initializer(value)
    model.graph.insert_before(model.graph[0], emit.nodes)
    return model
