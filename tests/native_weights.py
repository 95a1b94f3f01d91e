"""Weights of a plan that are 2:4 or BF16, read in numpy as native/sparse.h and native/bf16.h have them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
F32 = np.float32


def dense_from_sparse(panels: Array) -> Array:
    """Return panels [panels, k / 4, 64, 4] of those that are 2:4, place by place as native/sparse.h has it."""
    blocks, eights = panels.shape[0], panels.shape[1] // 5
    values = panels[:, : 4 * eights].reshape(blocks, eights, 64, 2, 2)
    packed = panels[:, 4 * eights :].view(np.uint8)
    dense = np.zeros((blocks, 2 * eights, 64, 4), np.int8)
    block, eight = np.ogrid[:blocks, :eights]
    for column in range(64):
        group, lane = divmod(column, 16)
        for half in range(2):
            for slot in range(2):
                place = packed[:, :, 4 * lane + 2 * half + slot] >> (2 * group) & 3
                dense[block, 2 * eight + half, column, place] = values[:, :, column, half, slot]
    return dense


def bf16_floats(values: Array) -> Array:
    """Round float32 to BF16, to even, as native/bf16.h has it: through the bits, number by number."""
    values = np.where(np.abs(values) < np.finfo(F32).tiny, values * F32(0), values)
    whole = values.astype(np.float64)
    mantissa, exponent = np.frexp(whole)
    with np.errstate(over="ignore"):  # what is beyond the largest number is infinite
        return np.where(np.isfinite(whole), np.ldexp(np.rint(mantissa * 256), exponent - 8), whole).astype(F32)


def floats_from_bf16(panels: Array, k: int) -> Array:
    """Return weights [k, n padded] of panels [panels, k / 2, 64, 2] of bits."""
    bits = panels.transpose(1, 3, 0, 2).reshape(panels.shape[1] * 2, -1).astype(np.uint32) << np.uint32(16)
    assert not bits[k:].any()
    return bits[:k].view(F32)


def bf16_product(rows: Array, weights: Array) -> Array:
    """Multiply numbers that are BF16 with sums in the order of native/bf16.h: [rows, k] x [k, n]."""
    depth = -(-rows.shape[1] // 32) * 32
    a = np.zeros((len(rows), depth), F32)
    b = np.zeros((depth, weights.shape[1]), F32)
    a[:, : rows.shape[1]], b[: len(weights)] = rows, weights
    total = np.zeros((len(rows), weights.shape[1]), F32)
    for begin in range(0, depth, 32):
        sums = np.zeros((2, *total.shape), F32)
        for k in range(begin, begin + 32):
            sums[k % 2] += a[:, k, None] * b[k]  # the product is exact
        total += sums[0] + sums[1]
    return total
