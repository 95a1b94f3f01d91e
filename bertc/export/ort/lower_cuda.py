"""ONNX Runtime's CUDA provider: FP16, one attention node per layer that is told the texts' lengths.

In: a float graph. Out: the same function in the operators of the dialect `ort`, embeddings and encoder in FP16, the
head in FP32. Two things differ from the CPU: bias, residual and LayerNorm are one `SkipLayerNormalization`, which is
slow there (docs/decisions/0002-layer-normalization.md), and attention takes a length per text instead of a mask, int32
[batch]: of all kinds of masks the provider's fused FP16 kernels for short texts take this one
(contrib_ops/cuda/bert/attention.cc of microsoft/onnxruntime). So padding has to stand at the end of a text.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.export.half import use_half
from bertc.export.ort import lower as ort
from bertc.export.ort.written_values import MICROSOFT
from bertc.ir.disentangled import refuse_position_scores
from bertc.ir.edit import insert_after, remove_unused
from bertc.ir.emit import Emitter
from bertc.ir.rms_norm import refuse_rms_norm
from bertc.ir.rotary import refuse_rotary
from bertc.ir.sentences import unpack_rows
from bertc.ir.sites import Role

NO_INT8 = (
    "ONNX Runtime's CUDA provider has no kernels for the INT8 operators that bertc writes (MatMulIntegerToFloat, "
    "QLinearMatMul) and would leave them to the CPU without a word; its QOrdered operators are not supported yet, so "
    "this target is FP16"
)
MASK_PLACES = {"Attention": 3, "MultiHeadAttention": 4}
"""Which input of the fused operators is the mask, or the lengths."""

FLOAT_ROLES = dict.fromkeys(Role, NO_INT8)
"""As every dialect has it: the contract of all dialects reads it."""


def lower_graph(graph: ir.Model, *, half: bool = False) -> ir.Model:
    """Return a float graph in the provider's operators; without `half`, FP32, its numbers can be checked.

    Raises `InputError` for a quantized graph, and naming a weight that FP16 cannot hold.
    """
    if any(node.op_type == "QuantizeLinear" for node in graph.graph):
        raise InputError(f"the graph is quantized: {NO_INT8}")
    refuse_position_scores(graph, "ONNX Runtime's CUDA provider")
    refuse_rotary(graph, "ONNX Runtime's CUDA provider")
    refuse_rms_norm(graph, "ONNX Runtime's CUDA provider")
    model = graph.clone()
    unpack_rows(model)  # a length per text is one text per row
    model = ort.lower_graph(model)
    _give_lengths(model)
    for node in list(model.graph):
        if node.op_type == "Sum":
            _fuse_residual(model, node)
    remove_unused(model)
    if half:
        use_half(model)
    return model


def _give_lengths(model: ir.Model) -> None:
    """Replace the mask of every attention by the number of tokens that it shows."""
    mask = next(value for value in model.graph.inputs if value.name == "attention_mask")
    emit = Emitter()
    shown = emit.op("Sign", mask, name="lengths.shown")
    axis = emit.constant("lengths.axis", np.array([1], np.int64))
    counted = emit.op("ReduceSum", shown, axis, name="lengths.counted", keepdims=0)
    lengths = emit.op("Cast", counted, to=int(ir.DataType.INT32), name="lengths.int32")
    model.graph.insert_before(model.graph[0], emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    for node in model.graph:
        if node.domain == MICROSOFT and node.op_type in MASK_PLACES:
            node.replace_input_with(MASK_PLACES[node.op_type], lengths)


def _fuse_residual(model: ir.Model, residual: ir.Node) -> None:
    """Write bias, residual addition and LayerNormalization as one node, in the place of the last."""
    (use,) = residual.outputs[0].uses()
    norm = use.node
    assert norm.op_type == "LayerNormalization", f"{residual.outputs[0].name} is not normalized"
    biased, skip = residual.inputs
    node = None if biased is None else biased.producer()
    assert biased is not None and node is not None
    operands = [biased, skip, *norm.inputs[1:]]
    if node.op_type == "Add" and len(biased.uses()) == 1 and node.inputs[1] is not None:
        operands = [node.inputs[0], skip, *norm.inputs[1:], node.inputs[1]]
    value = norm.outputs[0]
    name, value.name = str(value.name), f"{value.name}.apart"
    emit = Emitter()
    fused = emit.op(
        "SkipLayerNormalization",
        *operands,
        name=name,
        domain=MICROSOFT,
        epsilon=norm.attributes["epsilon"].as_float(),
    )
    insert_after(model, value, emit, fused, list(value.uses()))
