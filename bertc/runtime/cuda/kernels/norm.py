"""Row-wise kernels: LayerNorm and RMSNorm to numbers and codes, the embeddings, and what follows a value."""

from __future__ import annotations

import triton
import triton.language as tl

from bertc.runtime.cuda.kernels.codes import activated, rounded, to_codes, to_type
from bertc.runtime.cuda.kernels.gemm import CODES_RESIDUAL, FLOAT_RESIDUAL, GATE, NO_RESIDUAL


@triton.jit
def _normalized(
    x: tl.tensor, columns: tl.tensor, inside: tl.tensor, gamma: tl.tensor, beta: tl.tensor, epsilon: tl.tensor,
    N: tl.tensor, RMS: tl.constexpr, SHIFTED: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Normalize rows [BLOCK_M, BLOCK_N] in float32; what lies behind column N is 0 in x."""
    if not RMS:
        mean = tl.sum(x, 1) / N
        x = tl.where(inside[None, :], x - mean[:, None], 0.0)
    spread = tl.rsqrt(tl.sum(x * x, 1) / N + epsilon)
    y = x * spread[:, None] * tl.load(gamma + columns, mask=inside, other=0.0)[None, :]
    if SHIFTED:
        y = y + tl.load(beta + columns, mask=inside, other=0.0)[None, :]
    return y


@triton.jit
def _stored(
    y: tl.tensor, cells: tl.tensor, mask: tl.tensor, columns: tl.tensor, inside: tl.tensor, out: tl.tensor,
    codes: tl.tensor, inverse: tl.tensor, FLOATS: tl.constexpr, CODES: tl.constexpr,
) -> None:  # fmt: skip
    if FLOATS:
        tl.store(out + cells, y.to(out.dtype.element_ty), mask=mask)
    if CODES:
        factors = tl.load(inverse + columns, mask=inside, other=0.0)
        tl.store(codes + cells, to_codes(y * factors[None, :], codes.dtype.element_ty), mask=mask)


@triton.jit
def norm(
    x: tl.tensor, scale: tl.tensor, bias: tl.tensor, residual: tl.tensor, residual_scale: tl.tensor, out: tl.tensor,
    codes: tl.tensor, gamma: tl.tensor, beta: tl.tensor, inverse: tl.tensor, M: tl.tensor, N: tl.tensor,
    stride_x: tl.tensor, stride_residual: tl.tensor, stride_out: tl.tensor, epsilon: tl.tensor, SCALED: tl.constexpr,
    BIASED: tl.constexpr, RESIDUAL: tl.constexpr, RMS: tl.constexpr, SHIFTED: tl.constexpr, FLOATS: tl.constexpr,
    CODES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Normalize x [rows, n], scaled, with bias and residual added, to out and codes.

    out and codes have one stride; either may be missing. Vectors have n numbers.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, BLOCK_N)
    inside = columns < N
    mask = (rows < M)[:, None] & inside[None, :]
    rows64 = rows.to(tl.int64)[:, None]
    numbers = tl.load(x + rows64 * stride_x + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    if SCALED:
        numbers = numbers * tl.load(scale + columns, mask=inside, other=0.0)[None, :]
    if BIASED:
        numbers = numbers + tl.load(bias + columns, mask=inside, other=0.0)[None, :]
    if RESIDUAL != NO_RESIDUAL:
        added = tl.load(residual + rows64 * stride_residual + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        if RESIDUAL == CODES_RESIDUAL:
            added = added * tl.load(residual_scale + columns, mask=inside, other=0.0)[None, :]
        numbers = numbers + added
    y = _normalized(numbers, columns, inside, gamma, beta, epsilon, N, RMS, SHIFTED)
    _stored(y, rows64 * stride_out + columns[None, :], mask, columns, inside, out, codes, inverse, FLOATS, CODES)


@triton.jit
def embed(
    ids: tl.tensor, types: tl.tensor, places: tl.tensor, word: tl.tensor, word_scale: tl.tensor, position: tl.tensor,
    position_scale: tl.tensor, type_rows: tl.tensor, out: tl.tensor, M: tl.tensor, N: tl.tensor, stride_out: tl.tensor,
    INT8: tl.constexpr, POSITIONS: tl.constexpr, TYPES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Add the rows of tables for ids, places (positions) and types, int32 [rows] each.

    word and position are INT8 with a scale for each row, or floats; type_rows are floats [TYPES, n].
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, BLOCK_N)
    inside, valid = columns < N, rows < M
    mask = valid[:, None] & inside[None, :]
    at = tl.load(ids + rows, mask=valid, other=0).to(tl.int64)
    x = tl.load(word + at[:, None] * N + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    if INT8:
        x = x * tl.load(word_scale + at, mask=valid, other=0.0)[:, None]
    if POSITIONS:
        at = tl.load(places + rows, mask=valid, other=0).to(tl.int64)
        y = tl.load(position + at[:, None] * N + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        if INT8:
            y = y * tl.load(position_scale + at, mask=valid, other=0.0)[:, None]
        x = x + y
    if TYPES:
        at = rows.to(tl.int64) * 0  # one row is every token's, whatever its type
        if TYPES > 1:
            at = tl.load(types + rows, mask=valid, other=0).to(tl.int64)
        x = x + tl.load(type_rows + at[:, None] * N + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    tl.store(out + rows.to(tl.int64)[:, None] * stride_out + columns[None, :], x.to(out.dtype.element_ty), mask=mask)


@triton.jit
def finish(
    x: tl.tensor, out: tl.tensor, scale: tl.tensor, requant_scale: tl.tensor, bias: tl.tensor, residual: tl.tensor,
    residual_scale: tl.tensor, inverse: tl.tensor, M: tl.tensor, N: tl.tensor, stride_x: tl.tensor,
    stride_out: tl.tensor, stride_residual: tl.tensor, SCALED: tl.constexpr, REQUANTIZED: tl.constexpr,
    BIASED: tl.constexpr, ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Scale or requantize x [rows, n] (numbers or codes), add bias and residual, and give numbers or codes."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < N
    mask = (rows < M)[:, None] & inside[None, :]
    rows64 = rows.to(tl.int64)[:, None]
    y = tl.load(x + rows64 * stride_x + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    if SCALED:
        y = y * tl.load(scale + columns, mask=inside, other=0.0)[None, :]
    if REQUANTIZED:
        y = rounded(y, -128.0) * tl.load(requant_scale + columns, mask=inside, other=0.0)[None, :]
    if BIASED:
        y = y + tl.load(bias + columns, mask=inside, other=0.0)[None, :]
    y = activated(y, ACTIVATION)
    cells = rows64 * stride_residual + columns[None, :]
    if RESIDUAL == FLOAT_RESIDUAL:
        y = y + tl.load(residual + cells, mask=mask, other=0.0).to(tl.float32)
    elif RESIDUAL == GATE:
        y = y * tl.load(residual + cells, mask=mask, other=0.0).to(tl.float32)
    elif RESIDUAL == CODES_RESIDUAL:
        codes = tl.load(residual + cells, mask=mask, other=0.0).to(tl.float32)
        y = y + codes * tl.load(residual_scale + columns, mask=inside, other=0.0)[None, :]
    factors = tl.load(inverse + columns, mask=inside, other=0.0)
    found = to_type(y, factors[None, :], out.dtype.element_ty)
    tl.store(out + rows64 * stride_out + columns[None, :], found, mask=mask)
