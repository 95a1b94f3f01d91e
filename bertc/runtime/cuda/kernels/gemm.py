"""A product of codes (or FP16 numbers) with weights, and everything that follows it in a plan's step.

a [rows, k], any stride between rows; b [n, k]: a row for each column of the result; out [rows, n]. Products of INT8
add up in int32, others in float32. What follows is in the order of native/bertc.h: scale or requantization, bias,
activation, residual, codes. Vectors have n float32 numbers; those that a step lacks are not read.
"""

from __future__ import annotations

import triton
import triton.language as tl

from bertc.runtime.cuda.kernels.codes import activated, rounded, to_type

NO_RESIDUAL, FLOAT_RESIDUAL, CODES_RESIDUAL, GATE = (tl.constexpr(number) for number in range(4))
"""What is done with the residual."""


@triton.jit
def _place(tile: tl.tensor, tiles_m: tl.tensor, tiles_n: tl.tensor, GROUP: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return a tile's row and column: groups of rows go through all columns, so that L2 keeps what they share."""
    width = GROUP * tiles_n
    first = tile // width * GROUP
    rows = tl.minimum(tiles_m - first, GROUP)
    return first + tile % width % rows, tile % width // rows


@triton.jit
def _finished(
    sums: tl.tensor, columns: tl.tensor, cells: tl.tensor, inside: tl.tensor, scale: tl.tensor,
    requant_scale: tl.tensor, bias: tl.tensor, residual: tl.tensor, residual_scale: tl.tensor, inverse: tl.tensor,
    SCALED: tl.constexpr, REQUANTIZED: tl.constexpr, BIASED: tl.constexpr, ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr, TYPE: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return what is stored of a tile's sums; cells are the places of the residual's elements."""
    y = sums.to(tl.float32)
    if SCALED:
        y = y * tl.load(scale + columns)[None, :]
    if REQUANTIZED:
        y = rounded(y, -128.0) * tl.load(requant_scale + columns)[None, :]
    if BIASED:
        y = y + tl.load(bias + columns)[None, :]
    y = activated(y, ACTIVATION)
    if RESIDUAL == FLOAT_RESIDUAL:
        y = y + tl.load(residual + cells, mask=inside, other=0.0).to(tl.float32)
    elif RESIDUAL == GATE:
        y = y * tl.load(residual + cells, mask=inside, other=0.0).to(tl.float32)
    elif RESIDUAL == CODES_RESIDUAL:
        codes = tl.load(residual + cells, mask=inside, other=0.0).to(tl.float32)
        y = y + codes * tl.load(residual_scale + columns)[None, :]
    if TYPE == tl.float16 or TYPE == tl.bfloat16 or TYPE == tl.float32:  # noqa: SIM300  # a type is the constant here
        return y.to(TYPE)
    else:
        return to_type(y, tl.load(inverse + columns)[None, :], TYPE)


@triton.jit
def gemm(
    a: tl.tensor, b: tl.tensor, out: tl.tensor, scale: tl.tensor, requant_scale: tl.tensor, bias: tl.tensor,
    residual: tl.tensor, residual_scale: tl.tensor, inverse: tl.tensor, M: tl.tensor, N: tl.tensor, K: tl.tensor,
    stride_a: tl.tensor, stride_out: tl.tensor, stride_residual: tl.tensor, SCALED: tl.constexpr,
    REQUANTIZED: tl.constexpr, BIASED: tl.constexpr, ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, EVEN: tl.constexpr,
) -> None:  # fmt: skip
    """Compute one tile a program, by ordinary loads. EVEN: k is a multiple of BLOCK_K and n one of BLOCK_N."""
    row, column = _place(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N), GROUP)
    rows = row * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = column * BLOCK_N + tl.arange(0, BLOCK_N)
    within = columns % N  # columns behind the last are computed as others, and not stored
    depth = tl.arange(0, BLOCK_K)
    left = a + (rows % M).to(tl.int64)[:, None] * stride_a + depth[None, :]
    right = b + within.to(tl.int64)[None, :] * K + depth[:, None]
    TYPE: tl.constexpr = tl.int32 if a.dtype.element_ty == tl.int8 else tl.float32
    sums = tl.zeros([BLOCK_M, BLOCK_N], TYPE)
    for start in range(0, K, BLOCK_K):
        if EVEN:
            sums = tl.dot(tl.load(left), tl.load(right), sums, out_dtype=TYPE)
        else:
            inner = depth < K - start
            lefts = tl.load(left, mask=inner[None, :], other=0.0)
            sums = tl.dot(lefts, tl.load(right, mask=inner[:, None], other=0.0), sums, out_dtype=TYPE)
        left += BLOCK_K
        right += BLOCK_K
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    cells = rows.to(tl.int64)[:, None] * stride_residual + columns[None, :]
    found = _finished(
        sums, within, cells, inside, scale, requant_scale, bias, residual, residual_scale, inverse,
        SCALED, REQUANTIZED, BIASED, ACTIVATION, RESIDUAL, out.dtype.element_ty,
    )  # fmt: skip
    tl.store(out + rows.to(tl.int64)[:, None] * stride_out + columns[None, :], found, mask=inside)


@triton.jit
def gemm_described(
    a: tl.tensor, b: tl.tensor, out: tl.tensor, scale: tl.tensor, requant_scale: tl.tensor, bias: tl.tensor,
    residual: tl.tensor, residual_scale: tl.tensor, inverse: tl.tensor, M: tl.tensor, N: tl.tensor, K: tl.tensor,
    stride_out: tl.tensor, stride_residual: tl.tensor, SCALED: tl.constexpr, REQUANTIZED: tl.constexpr,
    BIASED: tl.constexpr, ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, EVEN: tl.constexpr,
) -> None:  # fmt: skip
    """Compute tiles one after the other, in any number of programs; a and b come through tensor descriptors.

    A program's next operands are on their way while it finishes a tile. What descriptors read behind the end
    is 0. EVEN: n is a multiple of BLOCK_N.
    """
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    TYPE: tl.constexpr = tl.int32 if a.dtype == tl.int8 else tl.float32
    for tile in tl.range(tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0), flatten=True):
        row, column = _place(tile, tiles_m, tiles_n, GROUP)
        sums = tl.zeros([BLOCK_M, BLOCK_N], TYPE)
        for start in range(0, K, BLOCK_K):
            lefts = a.load([row * BLOCK_M, start])
            rights = b.load([column * BLOCK_N, start])
            sums = tl.dot(lefts, rights.T, sums, out_dtype=TYPE)
        rows = row * BLOCK_M + tl.arange(0, BLOCK_M)
        columns = column * BLOCK_N + tl.arange(0, BLOCK_N)
        within = columns if EVEN else columns % N
        inside = (rows < M)[:, None] & (columns < N)[None, :]
        cells = rows.to(tl.int64)[:, None] * stride_residual + columns[None, :]
        found = _finished(
            sums, within, cells, inside, scale, requant_scale, bias, residual, residual_scale, inverse,
            SCALED, REQUANTIZED, BIASED, ACTIVATION, RESIDUAL, out.dtype.element_ty,
        )  # fmt: skip
        tl.store(out + rows.to(tl.int64)[:, None] * stride_out + columns[None, :], found, mask=inside)
