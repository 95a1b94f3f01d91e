"""Several sentences in one row: what the graph derives from the numbers in `attention_mask`, in standard operators.

`attention_mask` is int64 [B, S]. A token's number is 1 + the column in which its sentence starts, 0 for padding, so an
ordinary mask of 0 and 1 is the case of one sentence per row. A token's position in its sentence then is its column
minus the number, plus one: no search for the sentence's start. Padding counts as part of the first sentence, so that
an ordinary mask, wherever its zeros stand, gives every column as its position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertc.ir.edit import insert_after, values_by_name
from bertc.ir.emit import Emitter, array_of

SENTENCES = "sentences"
"""The dimension of outputs that have one entry for each sentence, not for each row."""

FIRST_TOKEN, LAST_TOKEN = "head.first_token", "head.last_token"
"""Names of what a head reads of each sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What follows from the mask, int64 [B, S]: each token's column, sentence and position in it.

    columns: counted from 1; sentence: the number, 1 for padding.
    """

    mask: ir.Value
    columns: ir.Value
    sentence: ir.Value
    positions: ir.Value


def emit_packing(emit: Emitter, mask: ir.Value) -> Packing:
    """Write sentences and positions."""
    one = emit.constant("packing.one", np.int64(1))
    sentence = emit.op("Max", mask, one, name="packing.sentence")
    axis = emit.constant("packing.axis", np.array(1, np.int64))
    ones = emit.op("Min", sentence, one, name="packing.ones")
    columns = emit.op("CumSum", ones, axis, name="packing.columns")
    positions = emit.op("Sub", columns, sentence, name="packing.positions")
    return Packing(mask=mask, columns=columns, sentence=sentence, positions=positions)


def packing_of(model: ir.Model) -> Packing:
    """Find again what `emit_packing` wrote."""
    values = values_by_name(model)
    (mask,) = [value for value in model.graph.inputs if value.name == "attention_mask"]
    return Packing(
        mask=mask,
        columns=values["packing.columns"],
        sentence=values["packing.sentence"],
        positions=values["packing.positions"],
    )


def emit_first_tokens(emit: Emitter, packing: Packing, tokens: ir.Value, prefix: str = "head") -> ir.Value:
    """Write the vector of every sentence's first token, row by row. tokens: [B, S, hidden]; returns [N, hidden]."""
    starts = emit.op("NonZero", _starts(emit, packing, prefix), name=f"{prefix}.starts")
    coordinates = emit.op("Transpose", starts, perm=[1, 0], name=f"{prefix}.start_places")  # [N, 2]
    return emit.op("GatherND", tokens, coordinates, name=f"{prefix}.first_token")


def emit_last_tokens(emit: Emitter, packing: Packing, tokens: ir.Value) -> ir.Value:
    """Write the vector of every sentence's last token, row by row. tokens: [B, S, hidden]; returns [N, hidden]."""
    ends = emit.op("NonZero", _ends(emit, packing, "last"), name="last.ends")
    coordinates = emit.op("Transpose", ends, perm=[1, 0], name="last.end_places")  # [N, 2]
    return emit.op("GatherND", tokens, coordinates, name=LAST_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokens:
    """The first tokens of a batch's rows, Q of them in the row that has most; other rows fill up with any token.

    Where a head reads each sentence's last token, these are those.

    places: their columns, and sentences: their numbers, int64 [B, Q]; slots: row and place there of each of the N
    sentences, int64 [N, 2].
    """

    places: ir.Value
    sentences: ir.Value
    slots: ir.Value

    def select(self, emit: Emitter, tokens: ir.Value, name: str) -> ir.Value:
        """Write the rows of tokens [B, S, hidden] that stand at the places: [B, Q, hidden]."""
        last = emit.constant("first.last", np.array([-1], np.int64))
        coordinates = emit.op("Unsqueeze", self.places, last, name="first.coordinates")
        return emit.op("GatherND", tokens, coordinates, name=name, batch_dims=1)


def emit_first_places(emit: Emitter, packing: Packing, *, last: bool = False) -> FirstTokens:
    """Write where every row's first tokens are, or with `last` the last tokens of the sentences there."""
    starts = _ends(emit, packing, "first") if last else _starts(emit, packing, "first")
    axis = emit.constant("first.axis", np.array([1], np.int64))
    ones = emit.op("Cast", starts, to=int(ir.DataType.INT64), name="first.ones")
    counts = emit.op("ReduceSum", ones, axis, keepdims=0, name="first.counts")
    most = emit.op("ReduceMax", counts, keepdims=1, name="first.most_of_rows")  # [1]
    # The largest of no rows is the smallest number there is.
    most = emit.op("Max", most, emit.constant("first.none", np.int64(0)), name="first.most")
    behind = emit.constant("first.behind", np.int64(np.iinfo(np.int32).max))
    order = emit.op("Where", starts, packing.columns, behind, name="first.order")
    _, places = emit.ops("TopK", order, most, names=("first.columns", "first.places"), axis=1, largest=0, sorted=1)
    sentences = emit.op("GatherElements", packing.sentence, places, axis=1, name="first.sentences")
    taken = emit.op("GatherElements", ones, places, axis=1, name="first.taken")
    slots = emit.op("NonZero", taken, name="first.slot_places")
    slots = emit.op("Transpose", slots, perm=[1, 0], name="first.slots")
    return FirstTokens(places=places, sentences=sentences, slots=slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the tokens of the N sentences are, L those of the longest one, int64: columns of the flattened [B * S].

    firsts: [N, 1]; offsets: [L], from 0 to `longest`, which is a number; all: [N, L], of which `mask`, [N, L], has 1
    for a token of the sentence and 0 for what is behind its end.
    """

    firsts: ir.Value
    offsets: ir.Value
    longest: ir.Value
    all: ir.Value
    mask: ir.Value


def emit_places(emit: Emitter, packing: Packing) -> Places:
    """Write where every sentence's tokens are."""
    zero, one = (emit.constant(f"unpacked.{name}", np.int64(value)) for name, value in (("zero", 0), ("one", 1)))
    last = emit.constant("unpacked.last", np.array([-1], np.int64))
    starts = emit.op("Reshape", _starts(emit, packing, "unpacked"), last, name="unpacked.starts")
    starts = emit.op("NonZero", starts, name="unpacked.first_places")  # [1, N]: places in the flattened [B * S]
    shown = emit.op("Min", packing.mask, one, name="unpacked.shown")
    shown = emit.op("Mul", packing.positions, shown, name="unpacked.shown_positions")
    longest = emit.op("ReduceMax", shown, keepdims=0, name="unpacked.last_position")
    longest = emit.op("Add", longest, one, name="unpacked.longest")
    offsets = emit.op("Range", zero, longest, one, name="unpacked.offsets")
    column = emit.op("Transpose", starts, perm=[1, 0], name="unpacked.firsts")  # [N, 1]
    places = emit.op("Add", column, offsets, name="unpacked.unbounded")  # [N, L]
    # Behind a row's end lie the columns before the sentence in the next row, of lower numbers; the last row's next is
    # the first.
    size = emit.op("Size", packing.mask, name="unpacked.number")
    size = emit.op("Max", size, one, name="unpacked.size")  # a batch of no rows has nothing to divide by
    places = emit.op("Mod", places, size, name="unpacked.places")
    numbers = emit.op("Reshape", packing.mask, last, name="unpacked.numbers")
    sentences = emit.op("Reshape", packing.sentence, last, name="unpacked.sentences")
    found = emit.op("Gather", numbers, places, axis=0, name="unpacked.found")
    own = emit.op("Gather", sentences, column, axis=0, name="unpacked.own")  # [N, 1]
    mask = emit.op("Equal", found, own, name="unpacked.visible")
    mask = emit.op("Cast", mask, to=int(ir.DataType.INT64), name="unpacked.mask")
    return Places(firsts=column, offsets=offsets, longest=longest, all=places, mask=mask)


def emit_unpacked(emit: Emitter, packing: Packing, tokens: ir.Value, hidden: int) -> tuple[ir.Value, ir.Value]:
    """Write one row for each sentence again, L the longest one: [N, L, hidden], and the ordinary mask int64 [N, L]."""
    places = emit_places(emit, packing)
    shape = emit.constant("unpacked.flat", np.array([-1, hidden], np.int64))
    tokens = emit.op("Reshape", tokens, shape, name="unpacked.all_tokens")
    return emit.op("Gather", tokens, places.all, axis=0, name="unpacked.tokens"), places.mask


def emit_marked_tokens(
    emit: Emitter, packing: Packing, ids: ir.Value, mark: int, tokens: ir.Value, hidden: int
) -> ir.Value:
    """Write the vector of every sentence's first token with the id `mark`, or of its first token where none has it.

    ids: int64 [B, S]; tokens: [B, S, hidden]; returns [N, hidden].
    """
    places = emit_places(emit, packing)
    last = emit.constant("marked.last", np.array([-1], np.int64))
    flat = emit.op("Reshape", ids, last, name="marked.all_ids")
    own = emit.op("Gather", flat, places.all, axis=0, name="marked.ids")  # [N, L]
    found = emit.op("Equal", own, emit.constant("marked.id", np.int64(mark)), name="marked.found")
    found = emit.op("Cast", found, to=int(ir.DataType.INT64), name="marked.found_ones")
    found = emit.op("Mul", found, places.mask, name="marked.ones")
    # The first mark is the one with most columns up to the longest sentence's end; without one that is 0.
    left = emit.op("Sub", places.longest, places.offsets, name="marked.columns_left")
    left = emit.op("Mul", found, left, name="marked.left")
    axis = emit.constant("marked.axis", np.array([1], np.int64))
    most = emit.op("ReduceMax", left, axis, keepdims=1, name="marked.most_left")  # [N, 1]
    offset = emit.op("Sub", places.longest, most, name="marked.offset")
    one = emit.constant("marked.one", np.int64(1))
    longest = emit.op("Max", places.longest, one, name="marked.longest")  # a batch of no rows has nothing to divide by
    offset = emit.op("Mod", offset, longest, name="marked.offset_or_none")
    place = emit.op("Add", places.firsts, offset, name="marked.columns")
    place = emit.op("Reshape", place, last, name="marked.places")  # [N]
    shape = emit.constant("marked.flat", np.array([-1, hidden], np.int64))
    rows = emit.op("Reshape", tokens, shape, name="marked.all_tokens")
    return emit.op("Gather", rows, place, axis=0, name="head.marked_token")


def emit_near(emit: Emitter, packing: Packing, window: int) -> ir.Value:
    """Write which keys are at most `window` columns from each query: bool [B, S, S]."""
    name = f"packing.window_{window}"
    last = emit.constant(f"{name}.query_axis", np.array([2], np.int64))
    middle = emit.constant(f"{name}.key_axis", np.array([1], np.int64))
    queries = emit.op("Unsqueeze", packing.columns, last, name=f"{name}.queries")
    keys = emit.op("Unsqueeze", packing.columns, middle, name=f"{name}.keys")
    apart = emit.op("Abs", emit.op("Sub", queries, keys, name=f"{name}.difference"), name=f"{name}.distance")
    return emit.op("LessOrEqual", apart, emit.constant(f"{name}.size", np.int64(window)), name=f"{name}.near")


def window_of(near: ir.Value) -> int | None:
    """Read back the window of what `emit_near` wrote; None for what it did not."""
    node = near.producer()
    size = None if node is None or node.op_type != "LessOrEqual" else node.inputs[1]
    return None if size is None or size.const_value is None else int(array_of(size))


def emit_visible(emit: Emitter, sentences: ir.Value, mask: ir.Value, near: ir.Value | None, prefix: str) -> ir.Value:
    """Write which keys each query sees: those of its sentence that are near. Returns bool [B, Q, S].

    sentences: the queries' numbers, int64 [B, Q]; mask: the keys', int64 [B, S]; near: bool [B, Q, S], None for all.
    """
    last = emit.op("Constant", value_ints=[2], name=f"{prefix}query_axis")
    middle = emit.op("Constant", value_ints=[1], name=f"{prefix}key_axis")
    queries = emit.op("Unsqueeze", sentences, last, name=f"{prefix}sentence_of_queries")
    keys = emit.op("Unsqueeze", mask, middle, name=f"{prefix}sentence_of_keys")
    visible = emit.op("Equal", queries, keys, name=f"{prefix}visible")
    return visible if near is None else emit.op("And", visible, near, name=f"{prefix}visible_and_near")


def unpack_rows(model: ir.Model) -> None:
    """Let every row be one sentence, in place: what a dialect that derives nothing else from the mask starts with."""
    values = values_by_name(model)
    if "embeddings.positions" in values:
        _replace(values["embeddings.position_rows"], values["embeddings.positions"])
    if "unpacked.tokens" in values:
        flattened = values["unpacked.all_tokens"].producer()
        assert flattened is not None and flattened.inputs[0] is not None
        _replace(values["unpacked.tokens"], flattened.inputs[0])
        (mask,) = [value for value in model.graph.inputs if value.name == "attention_mask"]
        _replace(values["unpacked.mask"], mask)
    if FIRST_TOKEN in values:
        value = values[FIRST_TOKEN]
        node = value.producer()
        assert node is not None
        emit = Emitter()
        first = emit.constant("head.first", np.array(0, np.int64))
        name, value.name = str(value.name), f"{value.name}.packed"
        plain = emit.op("Gather", node.inputs[0], first, axis=1, name=name)
        insert_after(model, value, emit, plain, list(value.uses()))
    if "head.marked_token" in values:
        _mark_plainly(model, values["head.marked_token"], values["marked.found"])
    for output in model.graph.outputs:
        if output.shape is not None and output.shape[0] == SENTENCES:
            output.shape = ir.Shape(["batch", *list(output.shape)[1:]])


def _mark_plainly(model: ir.Model, marked: ir.Value, found: ir.Value) -> None:
    """Choose the first mark of every row, in place: the greatest of what is 1 for it and 0 elsewhere."""
    node, comparison = marked.producer(), found.producer()
    rows = None if node is None or node.inputs[0] is None else node.inputs[0].producer()
    assert rows is not None and comparison is not None
    ids, mask = (
        next(value for value in model.graph.inputs if value.name == n) for n in ("input_ids", "attention_mask")
    )
    emit, kind = Emitter(), int(ir.DataType.FLOAT)
    equal = emit.op(
        "Equal",
        emit.op("Cast", ids, to=int(ir.DataType.INT64), name="plain.ids"),
        comparison.inputs[1],
        name="plain.found",
    )
    ones = emit.op("Cast", equal, to=kind, name="plain.found_ones")
    ones = emit.op("Mul", ones, emit.op("Cast", mask, to=kind, name="plain.shown"), name="plain.marks")
    counted = emit.op("CumSum", ones, emit.constant("plain.axis", np.array(1, np.int64)), name="plain.counted")
    first = emit.op("Equal", counted, emit.constant("plain.one", np.float32(1)), name="plain.is_first")
    first = emit.op("Mul", emit.op("Cast", first, to=kind, name="plain.first_ones"), ones, name="plain.first")
    place = emit.op("ArgMax", first, axis=1, keepdims=1, name="plain.place")
    name, marked.name = str(marked.name), f"{marked.name}.packed"
    plain = emit.op("GatherND", rows.inputs[0], place, batch_dims=1, name=name)
    insert_after(model, marked, emit, plain, list(marked.uses()))


def _replace(value: ir.Value, replacement: ir.Value) -> None:
    for use in list(value.uses()):
        use.node.replace_input_with(use.idx, replacement)


def _starts(emit: Emitter, packing: Packing, prefix: str) -> ir.Value:
    """Write which tokens are the first of a sentence: bool [B, S]. An ordinary mask's are the first column."""
    zero = emit.constant(f"{prefix}.first_position", np.int64(0))
    return emit.op("Equal", packing.positions, zero, name=f"{prefix}.is_first")


def _ends(emit: Emitter, packing: Packing, prefix: str) -> ir.Value:
    """Write which tokens are the last of a sentence, bool [B, S]: one of each, in a row of padding the first column."""
    axes = [emit.constant(f"{prefix}.axis_{axis}", np.array([axis], np.int64)) for axis in (1, 2)]
    zero = emit.constant(f"{prefix}.zero", np.int64(0))
    own = emit.op("Unsqueeze", packing.sentence, axes[1], name=f"{prefix}.own")
    numbers = emit.op("Unsqueeze", packing.mask, axes[0], name=f"{prefix}.numbers")
    positions = emit.op("Unsqueeze", packing.positions, axes[0], name=f"{prefix}.all_positions")
    shown = emit.op("Equal", own, numbers, name=f"{prefix}.is_own")  # [B, S, S]
    shown = emit.op("Where", shown, positions, zero, name=f"{prefix}.own_positions")
    last = emit.op("ReduceMax", shown, axes[1], keepdims=0, name=f"{prefix}.last_positions")
    return emit.op("Equal", packing.positions, last, name=f"{prefix}.is_last")
