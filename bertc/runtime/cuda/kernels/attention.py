"""Attention over the tokens of all texts in one row, in codes or in FP16, a program for each head and block of queries.

query, key, value and context are [tokens, columns] with heads beside each other, and may be columns of one matrix:
each has its stride. ends: int32 [texts + 1], the tokens before each text, and all. blocks: int32 [blocks, 2], each a
text and the first of its queries that a program has; a text of -1 is none. Where queries are rows of texts (PER_TEXT),
each text has one, of its first token or (LAST) its last. inverse: [n], for a context of codes. Where a query sees only
keys that are less than NEAR places away, a program visits those that some of its queries see; NEAR 0: all. ADDED says
what distances and types add to the products (`relative_scores`); types: int32 [tokens], segments: [rows, heads].

One pass over the keys, with the maximum and the sum so far. Probabilities stay in FP16: that is more exact than codes,
which would need a second pass, and no slower, since INT8 tensor instructions of Hopper want both operands along
the keys and values lie across them. Codes of values are whole numbers, which FP16 holds exactly. The method is that of
Milakov and Gimelshein (arXiv 1805.02867) and Dao et al. (arXiv 2205.14135).
"""

from __future__ import annotations

import triton
import triton.language as tl

from bertc.runtime.cuda.kernels.codes import to_type
from bertc.runtime.cuda.kernels.relative_scores import SEGMENTS, with_added

LOG2_E = tl.constexpr(1.4426950408889634)

LOWEST = tl.constexpr(-1e30)
"""Below every score. Not infinite: a query may see no key of a block, and infinities have no difference."""


@triton.jit
def _read(base: tl.tensor, rows: tl.tensor, inside: tl.tensor, stride: tl.tensor, SIZE: tl.constexpr) -> tl.tensor:
    """Read rows of one head, [rows, SIZE]; those that are not inside are 0."""
    cells = base + rows[:, None] * stride + tl.arange(0, SIZE)[None, :]
    return tl.load(cells, mask=inside[:, None], other=0.0)


@triton.jit
def _raw(queries: tl.tensor, keys: tl.tensor) -> tl.tensor:
    """Return products of queries and keys."""
    TYPE: tl.constexpr = tl.int32 if queries.dtype == tl.int8 else tl.float32
    return tl.dot(queries, keys.T, out_dtype=TYPE).to(tl.float32)


@triton.jit
def _reach(
    first: tl.tensor, length: tl.tensor, LAST: tl.constexpr, NEAR: tl.constexpr, BLOCK_M: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the places of a block's queries, and the first and the end of the keys that some of them see."""
    place = length - 1 if LAST else first
    places = tl.minimum(place + tl.arange(0, BLOCK_M), length - 1)
    if NEAR:
        return places, tl.maximum(place + 1 - NEAR, 0), tl.minimum(place + BLOCK_M + NEAR - 1, length)
    else:
        return places, length * 0, length  # 0 as a tensor, as above


@triton.jit
def _seen(raw: tl.tensor, keys: tl.tensor, queries: tl.tensor, NEAR: tl.constexpr) -> tl.tensor:
    """Return products, those of keys that are too far from a query infinitely low; both are places in the text."""
    if NEAR:
        return tl.where(tl.abs(keys[None, :] - queries[:, None]) < NEAR, raw, float("-inf"))
    else:
        return raw


@triton.jit
def _added_up(
    raw: tl.tensor, cells: tl.tensor, inside: tl.tensor, factor: tl.tensor, highest: tl.tensor, total: tl.tensor,
    sums: tl.tensor, WHOLE: tl.constexpr, PROBS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Return the highest score, the sum of probabilities and of values so far, with a block of keys.

    cells: where the values lie. They are read behind the probabilities: registers are short before.
    """
    higher = tl.maximum(highest, tl.max(raw, 1) * factor)
    shrink = tl.exp2(highest - higher)
    probs = tl.exp2(raw * factor - higher[:, None])
    total = total * shrink + tl.sum(probs, 1)
    values = tl.load(cells) if WHOLE else tl.load(cells, mask=inside[:, None], other=0.0)
    sums = tl.dot(probs.to(PROBS), values.to(PROBS), sums * shrink[:, None], input_precision="ieee")
    return higher, total, sums


@triton.jit
def _store(result: tl.tensor, context: tl.tensor, cells: tl.tensor, inside: tl.tensor, inverse: tl.tensor) -> None:
    """Store rows of a head, as numbers or as codes, in cells of the context."""
    if context.dtype.element_ty == tl.float16 or context.dtype.element_ty == tl.float32:
        found = result.to(context.dtype.element_ty)
    else:
        factors = tl.load(inverse + tl.arange(0, result.shape[1]))
        found = to_type(result, factors[None, :], context.dtype.element_ty)
    tl.store(context + cells, found, mask=inside[:, None])


@triton.jit
def attend(
    query: tl.tensor, key: tl.tensor, value: tl.tensor, context: tl.tensor, ends: tl.tensor, blocks: tl.tensor,
    inverse: tl.tensor, distances: tl.tensor, by_query: tl.tensor, by_key: tl.tensor, types: tl.tensor,
    segments: tl.tensor, scaling: tl.tensor, context_scale: tl.tensor, unit: tl.tensor, middle: tl.tensor,
    columns: tl.tensor, stride_q: tl.tensor, stride_k: tl.tensor, stride_v: tl.tensor, stride_out: tl.tensor,
    stride_distances: tl.tensor, stride_by_query: tl.tensor, stride_by_key: tl.tensor, stride_segments: tl.tensor,
    SIZE: tl.constexpr, PER_TEXT: tl.constexpr, LAST: tl.constexpr, NEAR: tl.constexpr, ADDED: tl.constexpr,
    ONE_STEP: tl.constexpr, PROBS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Attend; scaling is above 0. ONE_STEP: no program has more keys than a block. PROBS: what probabilities become."""
    block, head = tl.program_id(0), tl.program_id(1)
    text = tl.load(blocks + 2 * block)
    if text < 0:
        return
    first = tl.load(blocks + 2 * block + 1)
    begin = tl.load(ends + text).to(tl.int64)
    length = (tl.load(ends + text + 1) - begin).to(tl.int32)
    row = text.to(tl.int64) if PER_TEXT else begin  # of queries
    query, context = query + row * stride_q + head * SIZE, context + row * stride_out + head * SIZE
    key, value = key + begin * stride_k + head * SIZE, value + begin * stride_v + head * SIZE
    rows = first + tl.arange(0, BLOCK_M)
    inside = tl.arange(0, BLOCK_M) == 0 if PER_TEXT else rows < length
    queries = _read(query, rows, inside, stride_q, SIZE).to(key.dtype.element_ty)  # rows of texts are float32
    factor = scaling * LOG2_E
    at, low, high = _reach(first, length, LAST, NEAR, BLOCK_M)
    places, cells = tl.arange(0, BLOCK_N), tl.arange(0, SIZE)[None, :]
    highest, total = tl.zeros([BLOCK_M], tl.float32) + LOWEST, tl.zeros([BLOCK_M], tl.float32)
    rows_of, own = at, total
    if ADDED:
        rows_of = at * 0 if PER_TEXT else at
        distances += head * stride_distances
        by_query += head.to(tl.int64) * stride_by_query + row * columns
        by_key += head.to(tl.int64) * stride_by_key + begin * columns
        types += begin
        if SEGMENTS & ADDED:
            own = tl.load(segments + (row + rows_of) * stride_segments + head).to(tl.float32)
    sums = tl.zeros([BLOCK_M, SIZE], tl.float32)
    whole = low if ONE_STEP else low + (high - low) // BLOCK_N * BLOCK_N
    if not ONE_STEP:
        for start in range(low, whole, BLOCK_N):
            inner = start + places
            raw = _raw(queries, tl.load(key + inner[:, None] * stride_k + cells))
            raw = with_added(
                raw, inner, at, rows_of, distances, middle, by_query, by_key, columns, types, own, unit, ADDED
            )
            raw, values = _seen(raw, inner, at, NEAR), value + inner[:, None] * stride_v + cells
            highest, total, sums = _added_up(raw, values, inner, factor, highest, total, sums, True, PROBS)
    if whole < high:  # the last keys, of which some are no part of the text
        keys = whole + places
        raw, inner = _raw(queries, _read(key, keys, keys < high, stride_k, SIZE)), tl.minimum(keys, high - 1)
        raw = with_added(raw, inner, at, rows_of, distances, middle, by_query, by_key, columns, types, own, unit, ADDED)
        raw = tl.where((keys < high)[None, :], _seen(raw, keys, at, NEAR), float("-inf"))
        values = value + keys[:, None] * stride_v + cells
        highest, total, sums = _added_up(raw, values, keys < high, factor, highest, total, sums, False, PROBS)
    result = sums * (context_scale / total)[:, None]
    _store(result, context, rows[:, None] * stride_out + cells, inside, inverse + head * SIZE)
