"""Attention over the tokens of all texts in one row, in codes or in FP16, a program for each head and block of queries.

query, key, value and context are [tokens, columns] with heads beside each other, and may be columns of one matrix:
each has its stride. ends: int32 [texts + 1], the tokens before each text, and all. blocks: int32 [blocks, 2], each a
text and the first of its queries that a program has; a text of -1 is none. Where queries are rows of texts (PER_TEXT),
each text has one, of its first token or (LAST) its last. inverse: [n], for a context of codes. Where a query sees only
keys that are less than NEAR places away, a program visits those that some of its queries see; NEAR 0: all.

One pass over the keys, with the maximum and the sum so far. Probabilities stay in FP16: that is more exact than codes,
which would need a second pass, and no slower, since INT8 tensor instructions of Hopper want both operands along
the keys and values lie across them. Codes of values are whole numbers, which FP16 holds exactly. The method is that of
Milakov and Gimelshein (arXiv 1805.02867) and Dao et al. (arXiv 2205.14135).
"""

from __future__ import annotations

import triton
import triton.language as tl

from bertc.runtime.cuda.kernels.codes import to_type

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
def attend(
    query: tl.tensor, key: tl.tensor, value: tl.tensor, context: tl.tensor, ends: tl.tensor, blocks: tl.tensor,
    inverse: tl.tensor, scaling: tl.tensor, context_scale: tl.tensor, stride_q: tl.tensor, stride_k: tl.tensor,
    stride_v: tl.tensor, stride_out: tl.tensor, SIZE: tl.constexpr, PER_TEXT: tl.constexpr, LAST: tl.constexpr,
    NEAR: tl.constexpr, ONE_STEP: tl.constexpr, PROBS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Attend; scaling is above 0. ONE_STEP: no program has more keys than a block. PROBS: what probabilities become."""
    block, head = tl.program_id(0), tl.program_id(1)
    text = tl.load(blocks + 2 * block)
    if text < 0:
        return
    first = tl.load(blocks + 2 * block + 1)
    begin = tl.load(ends + text).to(tl.int64)
    length = (tl.load(ends + text + 1) - begin).to(tl.int32)
    key += begin * stride_k + head * SIZE
    value += begin * stride_v + head * SIZE
    rows = first + tl.arange(0, BLOCK_M)
    if PER_TEXT:
        inside = tl.arange(0, BLOCK_M) == 0
        query += text.to(tl.int64) * stride_q + head * SIZE
        context += text.to(tl.int64) * stride_out + head * SIZE
    else:
        inside = rows < length
        query += begin * stride_q + head * SIZE
        context += begin * stride_out + head * SIZE
    queries = _read(query, rows, inside, stride_q, SIZE).to(key.dtype.element_ty)  # rows of texts are float32
    factor = scaling * LOG2_E
    at, low, high = _reach(first, length, LAST, NEAR, BLOCK_M)
    places, cells = tl.arange(0, BLOCK_N), tl.arange(0, SIZE)[None, :]
    highest, total = tl.zeros([BLOCK_M], tl.float32) + LOWEST, tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, SIZE], tl.float32)
    whole = low if ONE_STEP else low + (high - low) // BLOCK_N * BLOCK_N
    if not ONE_STEP:
        for start in range(low, whole, BLOCK_N):
            keys = (start + places)[:, None]
            raw = _seen(_raw(queries, tl.load(key + keys * stride_k + cells)), start + places, at, NEAR)
            higher = tl.maximum(highest, tl.max(raw, 1) * factor)
            shrink = tl.exp2(highest - higher)
            probs = tl.exp2(raw * factor - higher[:, None])
            total = total * shrink + tl.sum(probs, 1)
            values = tl.load(value + keys * stride_v + cells).to(PROBS)
            sums = tl.dot(probs.to(PROBS), values, sums * shrink[:, None], input_precision="ieee")
            highest = higher
    if whole < high:  # the last keys, of which some are no part of the text
        keys = whole + places
        raw = _seen(_raw(queries, _read(key, keys, keys < high, stride_k, SIZE)), keys, at, NEAR)
        raw = tl.where((keys < high)[None, :], raw, float("-inf"))
        higher = tl.maximum(highest, tl.max(raw, 1) * factor)
        shrink = tl.exp2(highest - higher)
        probs = tl.exp2(raw * factor - higher[:, None])
        total = total * shrink + tl.sum(probs, 1)
        values = _read(value, keys, keys < high, stride_v, SIZE).to(PROBS)
        sums = tl.dot(probs.to(PROBS), values, sums * shrink[:, None], input_precision="ieee")
    result = sums * (context_scale / total)[:, None]
    if context.dtype.element_ty == tl.float16 or context.dtype.element_ty == tl.float32:
        found = result.to(context.dtype.element_ty)
    else:
        factors = tl.load(inverse + head * SIZE + tl.arange(0, SIZE))
        found = to_type(result, factors[None, :], context.dtype.element_ty)
    tl.store(context + rows[:, None] * stride_out + cells, found, mask=inside[:, None])
