"""The mean or the maximum of each text's rows, added up in the rows' order whatever else is in the batch."""

from __future__ import annotations

import triton
import triton.language as tl

MEAN, MAXIMUM, LOG = (tl.constexpr(number) for number in range(3))
"""`bertc.runtime.plan.kernel_plan.Pooled`."""


@triton.jit
def pool(
    x: tl.tensor, out: tl.tensor, ends: tl.tensor, N: tl.tensor, stride_x: tl.tensor, stride_out: tl.tensor,
    KIND: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """x [tokens, n] to out [texts, n]; LOG is log(1 + the maximum, at least 0). A text without a token has 0."""
    text = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = columns < N
    begin, end = tl.load(ends + text), tl.load(ends + text + 1)
    found = tl.zeros([BLOCK_N], tl.float32)
    if KIND != MEAN:
        found = tl.full([BLOCK_N], float("-inf"), tl.float32)
    for start in range(begin, end, BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        mask = (rows < end)[:, None] & inside[None, :]
        cells = x + rows.to(tl.int64)[:, None] * stride_x + columns[None, :]
        if KIND == MEAN:
            found += tl.sum(tl.load(cells, mask=mask, other=0.0).to(tl.float32), 0)
        else:
            found = tl.maximum(found, tl.max(tl.load(cells, mask=mask, other=float("-inf")).to(tl.float32), 0))
    if KIND == MEAN:
        found = found / tl.maximum(end - begin, 1).to(tl.float32)
    elif KIND == LOG:
        found = tl.log(1.0 + tl.maximum(found, 0.0))
    found = tl.where(begin < end, found, 0.0)
    tl.store(out + text * stride_out + columns, found.to(out.dtype.element_ty), mask=inside)
