"""The encoder without padding: the tokens of all texts in one row, as fused attentions of TensorRT take them.

Tokens are gathered before the embeddings' norm, and spread over [batch, length] again where the head reads them (a
place of padding then holds some token's value, which the head hides).
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.ir.edit import insert_after, values_by_name
from bertc.ir.emit import Emitter, array_of
from bertc.ir.sites import PROJECTION, Role, Site

ENCODER = ("layer.", "encoder.")


class Row:
    """What tells the texts apart once their tokens stand in one row.

    `tokens` [tokens]: where each one stands in [batch * length]; `places` [batch, length]: where each place's token
    stands in the row; `ends` int32 [batch + 1]: the tokens before each text, and all; `longest` int32 [length].
    """

    def __init__(self, emit: Emitter, mask: ir.Value) -> None:
        flat = emit.constant("attention.flat", np.array([-1], np.int64))
        last = emit.constant("attention.last", np.array([1], np.int64))
        row = emit.op("Reshape", mask, flat, name="attention.mask_row")
        visible = emit.op("Cast", row, to=int(ir.DataType.BOOL), name="attention.visible")
        found = emit.op("NonZero", visible, name="attention.token_index")
        self.tokens = emit.op("Reshape", found, flat, name="attention.tokens")
        axis = emit.constant("attention.axis", np.array(0, np.int64))
        one, zero = (emit.constant(f"attention.{n}", np.array(v, np.int32)) for n, v in (("one", 1), ("zero", 0)))
        counted = emit.op("CumSum", row, axis, name="attention.counted")
        # A text's first place may be padding only where it has no token at all.
        index = emit.op("Max", emit.op("Sub", counted, one, name="attention.before"), zero, name="attention.index")
        shape = emit.op("Shape", mask, name="attention.shape")
        self.places = emit.op("Reshape", index, shape, name="attention.places")
        lengths = emit.op("ReduceSum", mask, last, keepdims=0, name="attention.lengths")
        sums = emit.op("CumSum", lengths, axis, name="attention.sums")
        first = emit.constant("attention.first_end", np.array([0], np.int32))
        self.ends = emit.op("Concat", first, sums, axis=0, name="attention.ends")
        # A plugin reads nothing of it but its length.
        self.longest = emit.op("Gather", mask, axis, axis=0, name="attention.longest")
        self.flat = flat


def pack_tokens(model: ir.Model, mask: ir.Value) -> Row:
    """Gather the tokens before the first LayerNorm, and spread what the head reads, in place."""
    emit = Emitter()
    row = Row(emit, mask)
    model.graph.insert_before(model.graph[0], emit.nodes)
    for constant in emit.initializers:
        model.graph.register_initializer(constant)
    total = values_by_name(model)["embeddings.sum"]
    width = emit.constant("attention.rows", np.array([-1, _embedding_size(model)], np.int64))
    model.graph.register_initializer(width)
    batch = emit.constant("attention.batch_axis", np.array([0], np.int64))
    model.graph.register_initializer(batch)
    pack = Emitter()
    rows = pack.op("Reshape", total, width, name="embeddings.rows")
    chosen = pack.op("Gather", rows, row.tokens, axis=0, name="embeddings.tokens")
    packed = pack.op("Unsqueeze", chosen, batch, name="embeddings.packed")  # [1, tokens, H]
    insert_after(model, total, pack, packed, list(total.uses()))
    for node in list(model.graph):
        for value in node.outputs:
            uses = [use for use in value.uses() if not _is_encoder(use.node.outputs[0])]
            if _is_encoder(value) and uses:
                spread = Emitter()
                tokens = spread.op("Squeeze", value, batch, name=f"{value.name}.row")
                places = spread.op("Gather", tokens, row.places, axis=0, name=f"{value.name}.spread")
                insert_after(model, value, spread, places, uses)
    return row


def _is_encoder(value: ir.Value) -> bool:
    return str(value.name).startswith(ENCODER)


def refuse_float_attention(layer: int, name: str) -> NoReturn:
    """Raise the `InputError` of an attention that is INT8 throughout, for a layer that is not."""
    raise InputError(
        f"layer.{layer}: the {name} computes attention in INT8 throughout, with probs and context quantized and "
        "scores not; choose --attention decomposed"
    )


def hidden_size(model: ir.Model) -> int:
    """Return the width of the encoder."""
    return int(array_of(model.graph.initializers[f"{Site(0, Role.QUERY_GEMM).name}.weight"]).shape[0])


def _embedding_size(model: ir.Model) -> int:
    """Return the width of the embeddings."""
    projection = model.graph.initializers.get(f"{PROJECTION}.weight")
    return hidden_size(model) if projection is None else int(array_of(projection).shape[0])


def ints(emit: Emitter, name: str, *values: int) -> ir.Value:
    """Write a constant of integers inside a function's body."""
    return emit.op("Constant", value_ints=list(values), name=name)


def emit_same_text(emit: Emitter, tokens: ir.Value, ends: ir.Value, prefix: str = "") -> ir.Value:
    """Return bool [tokens, tokens]: whether two tokens stand in one text, by how many texts end before each.

    tokens: int64 [1], how many there are. `prefix` begins the names of what is written.
    """
    count = emit.op("Squeeze", tokens, name=f"{prefix}count_scalar")
    zero = emit.op("Constant", value_int=0, name=f"{prefix}range_begin")
    step = emit.op("Constant", value_int=1, name=f"{prefix}range_step")
    places = emit.op("Range", zero, count, step, name=f"{prefix}token_places")
    column = emit.op("Unsqueeze", places, ints(emit, f"{prefix}column_axis", 1), name=f"{prefix}token_column")
    borders = emit.op("Cast", ends, to=int(ir.DataType.INT64), name=f"{prefix}borders")
    behind = emit.op("LessOrEqual", borders, column, name=f"{prefix}behind")  # [tokens, batch + 1]
    numbers = emit.op("Cast", behind, to=int(ir.DataType.INT64), name=f"{prefix}behind_numbers")
    texts = emit.op(
        "ReduceSum", numbers, ints(emit, f"{prefix}text_axis", 1), keepdims=0, name=f"{prefix}texts"
    )  # [tokens]
    rows = emit.op("Unsqueeze", texts, ints(emit, f"{prefix}row_axis", 0), name=f"{prefix}text_row")
    columns = emit.op("Unsqueeze", texts, ints(emit, f"{prefix}text_column_axis", 1), name=f"{prefix}text_column")
    return emit.op("Equal", columns, rows, name=f"{prefix}same")
