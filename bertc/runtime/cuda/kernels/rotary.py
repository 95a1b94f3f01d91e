"""Rotary positions (Su et al., arXiv 2104.09864): heads of queries and keys turned by the places of their tokens."""

from __future__ import annotations

import triton
import triton.language as tl

from bertc.runtime.cuda.kernels.codes import to_type


@triton.jit
def rotary(
    x: tl.tensor, out: tl.tensor, places: tl.tensor, cos: tl.tensor, sin: tl.tensor, inverse: tl.tensor, M: tl.tensor,
    PAIRS: tl.tensor, stride_x: tl.tensor, stride_out: tl.tensor, HALF: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Turn columns i and i + HALF of each head of 2 HALF columns: x [rows, 2 PAIRS], numbers, to numbers or codes.

    places: int32 [rows], each token's in its text; cos, sin: float32 [positions, HALF]; inverse: [2 PAIRS], for codes.
    A program turns BLOCK_N pairs of BLOCK_M rows.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    pairs = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid, inside = rows < M, pairs < PAIRS
    mask = valid[:, None] & inside[None, :]
    angles = tl.load(places + rows, mask=valid, other=0)[:, None] * HALF + (pairs % HALF)[None, :]
    cosine, sine = tl.load(cos + angles, mask=mask, other=0.0), tl.load(sin + angles, mask=mask, other=0.0)
    left = pairs // HALF * (2 * HALF) + pairs % HALF
    right = left + HALF
    rows64 = rows.to(tl.int64)[:, None]
    a = tl.load(x + rows64 * stride_x + left[None, :], mask=mask, other=0.0).to(tl.float32)
    b = tl.load(x + rows64 * stride_x + right[None, :], mask=mask, other=0.0).to(tl.float32)
    cells = out + rows64 * stride_out
    kind: tl.constexpr = out.dtype.element_ty
    scales = tl.load(inverse + left, mask=inside, other=0.0)[None, :]
    tl.store(cells + left[None, :], to_type(a * cosine - b * sine, scales, kind), mask=mask)
    scales = tl.load(inverse + right, mask=inside, other=0.0)[None, :]
    tl.store(cells + right[None, :], to_type(b * cosine + a * sine, scales, kind), mask=mask)
