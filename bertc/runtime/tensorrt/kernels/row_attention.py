"""Fused attention over the tokens of all texts in one row: INT8 codes with scales, and FP16.

query, key, value and context are [tokens, heads * size], as the GEMMs around them have them: no layout change stands
between, and no padding is computed. ends: int32 [texts + 1], the tokens before each text, and all. A token attends to
the tokens of its own text.

Both kernels' arguments stand in the order in which TensorRT passes them to a plugin compiled ahead of time, inputs then
outputs; `longest` is there for its length alone, from which TensorRT computes the grid (longest / ROWS, heads, texts).

In INT8 the probabilities are quantized with a scale of their own before the second product, so their row's sum has to
be known first: one pass over the keys for the maximum and the sum, one for the product. Two passes cost the first
product twice and no memory; the usual single pass (FP16 below) divides by the sum at the end, and so cannot know the
codes. The method is that of Milakov and Gimelshein (arXiv 1805.02867) and Dao et al. (arXiv 2205.14135).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

ROWS, KEYS = 64, 64
"""Queries of a program, and keys of a step."""

LAUNCH: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}
"""Choices of the compiler; fused multiply-adds touch no rounding to codes."""

SIZES = (32, 64)
"""Head sizes: those of BERT. 128 compiles and would need more shared memory than a kernel has unasked (48 KiB)."""

LOG2_E = tl.constexpr(1.4426950408889634)
ROUNDER = tl.constexpr(12582912.0)
"""1.5 * 2^23: added to a small float, it leaves the integer nearest to it, half to even."""


@triton.jit
def _round(floats: tl.tensor, lowest: tl.constexpr) -> tl.tensor:
    """Return INT8 codes, rounded half to even and saturated."""
    within = tl.minimum(tl.maximum(floats, lowest), 127.0)
    return ((within + ROUNDER) - ROUNDER).to(tl.int8)


@triton.jit
def _scale(scales: tl.tensor, place: tl.constexpr) -> tl.tensor:
    return tl.load(scales + place).to(tl.float32)


@triton.jit
def _rows(base: tl.tensor, places: tl.tensor, length: tl.tensor, width: tl.tensor, SIZE: tl.constexpr) -> tl.tensor:
    """Read rows of one head, [places, SIZE]; rows behind the text's end are 0."""
    cells = base + places[:, None] * width + tl.arange(0, SIZE)[None, :]
    return tl.load(cells, mask=(places < length)[:, None], other=0)


@triton.jit
def _scores(query: tl.tensor, key: tl.tensor, factor: tl.tensor, hidden: tl.tensor) -> tl.tensor:
    """Return the scores of a step in base 2, -inf for keys that are no part of the text."""
    return tl.where(hidden[None, :], float("-inf"), tl.dot(query, tl.trans(key)).to(tl.float32) * factor)


@triton.jit
def attend_int8(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    ends: tl.tensor,
    longest: tl.tensor,
    scales: tl.tensor,
    context: tl.tensor,
    SIZE: tl.constexpr,
    ROOT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Attend in INT8. scales: float [5], of query, key, value, probs and context; context is int8 or float.

    ROOT is sqrt(SIZE), by which the scores are divided.
    """
    head, text = tl.program_id(1), tl.program_id(2)
    width = tl.num_programs(1) * SIZE
    begin = tl.load(ends + text)
    length = tl.load(ends + text + 1) - begin
    first = tl.program_id(0) * BLOCK_M
    if first >= length:
        return
    corner = begin.to(tl.int64) * width + head * SIZE
    factor = _scale(scales, 0) * _scale(scales, 1) * (LOG2_E / ROOT)
    places = first + tl.arange(0, BLOCK_M)
    mine = _rows(query + corner, places, length, width, SIZE)
    highest = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    for start in range(0, length, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        scores = _scores(mine, _rows(key + corner, keys, length, width, SIZE), factor, keys >= length)
        higher = tl.maximum(highest, tl.max(scores, 1))
        total = total * tl.exp2(highest - higher) + tl.sum(tl.exp2(scores - higher[:, None]), 1)
        highest = higher
    probs_scale = _scale(scales, 3)
    quantum = 1.0 / (total * probs_scale)  # from exp2(score - highest) to codes
    sums = tl.zeros([BLOCK_M, SIZE], tl.int32)
    for start in range(0, length, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        scores = _scores(mine, _rows(key + corner, keys, length, width, SIZE), factor, keys >= length)
        codes = _round(tl.exp2(scores - highest[:, None]) * quantum[:, None], 0.0)
        sums = tl.dot(codes, _rows(value + corner, keys, length, width, SIZE), sums)
    result = sums.to(tl.float32) * (probs_scale * _scale(scales, 2))
    cells = context + corner + places[:, None] * width + tl.arange(0, SIZE)[None, :]
    if context.dtype.element_ty == tl.int8:
        tl.store(cells, _round(result / _scale(scales, 4), -128.0), mask=(places < length)[:, None])
    else:
        tl.store(cells, result.to(context.dtype.element_ty), mask=(places < length)[:, None])


@triton.jit
def attend_half(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    ends: tl.tensor,
    longest: tl.tensor,
    context: tl.tensor,
    SIZE: tl.constexpr,
    ROOT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Attend in FP16, sums in FP32."""
    head, text = tl.program_id(1), tl.program_id(2)
    width = tl.num_programs(1) * SIZE
    begin = tl.load(ends + text)
    length = tl.load(ends + text + 1) - begin
    first = tl.program_id(0) * BLOCK_M
    if first >= length:
        return
    corner = begin.to(tl.int64) * width + head * SIZE
    places = first + tl.arange(0, BLOCK_M)
    mine = _rows(query + corner, places, length, width, SIZE)
    highest = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, SIZE], tl.float32)
    for start in range(0, length, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        scores = _scores(mine, _rows(key + corner, keys, length, width, SIZE), LOG2_E / ROOT, keys >= length)
        higher = tl.maximum(highest, tl.max(scores, 1))
        shrink = tl.exp2(highest - higher)
        probs = tl.exp2(scores - higher[:, None])
        total = total * shrink + tl.sum(probs, 1)
        values = _rows(value + corner, keys, length, width, SIZE)
        sums = tl.dot(probs.to(tl.float16), values, sums * shrink[:, None])
        highest = higher
    cells = context + corner + places[:, None] * width + tl.arange(0, SIZE)[None, :]
    tl.store(cells, (sums / total[:, None]).to(tl.float16), mask=(places < length)[:, None])


def attention_from_codes(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: torch.Tensor,
    scales: torch.Tensor,
    *,
    heads: int,
    longest: int,
    context: torch.Tensor,
) -> torch.Tensor:
    """Attend in INT8 and fill context, int8 or float [tokens, hidden]; the tensors are as in the module's text.

    longest: tokens of the longest text. On a GPU, or on the CPU in Triton's interpreter (TRITON_INTERPRET=1).
    """
    size = query.shape[1] // heads
    # The fifth is not read; TensorRT gives a tensor there.
    attend_int8[(triton.cdiv(longest, ROWS), heads, ends.shape[0] - 1)](
        query, key, value, ends, ends, scales, context, **constants(size), **LAUNCH
    )
    return context


def attention_from_halves(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: torch.Tensor,
    *,
    heads: int,
    longest: int,
    context: torch.Tensor,
) -> torch.Tensor:
    """Attend in FP16 and fill context, otherwise as `attention_from_codes`."""
    size = query.shape[1] // heads
    attend_half[(triton.cdiv(longest, ROWS), heads, ends.shape[0] - 1)](
        query, key, value, ends, ends, context, **constants(size), **LAUNCH
    )
    return context


def constants(size: int) -> dict[str, int | float]:
    """Return what a kernel is compiled for: the head size and the blocks."""
    assert size in SIZES, f"the kernel takes heads of {SIZES}, not {size}"
    return {"SIZE": size, "ROOT": size**0.5, "BLOCK_M": ROWS, "BLOCK_N": KEYS}
