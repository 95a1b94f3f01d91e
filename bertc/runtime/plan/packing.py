"""Weights as the kernels read them: panels of 64 columns, and vectors padded to whole panels (native/bertc.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertc.runtime.plan.kernel_plan import PANEL, bf16_pairs, padded

GROUP = 4
"""Rows of INT8 weights that lie beside each other: what one instruction multiplies and adds."""

KEPT = 2
"""Of a group of weights that are 2:4, how many may be other than 0."""


def _places() -> NDArray[np.intp]:
    """Return the two places of a group by the bits of what is not 0 in it; free ones are the first that are 0."""
    found = np.zeros((1 << GROUP, KEPT), np.intp)
    for bits in range(1 << GROUP):
        used = sorted(range(GROUP), key=lambda place: not bits >> place & 1)
        found[bits] = sorted(used[:KEPT])
    return found


PLACES = _places()


def int8_panels(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Pack weights [k, n] as [panels, ceil(k / 64) * 16, 64, 4], zeros behind both ends.

    >>> int8_panels(np.int8([[1], [2], [3], [4], [5]]))[0, :2, 0].tolist()
    [[1, 2, 3, 4], [5, 0, 0, 0]]
    """
    depth, columns = (padded(size) for size in weights.shape)
    whole = np.zeros((depth, columns), np.int8)
    whole[: weights.shape[0], : weights.shape[1]] = weights
    blocks = whole.reshape(depth // GROUP, GROUP, columns // PANEL, PANEL)
    return np.ascontiguousarray(blocks.transpose(2, 0, 3, 1))


def are_sparse(panels: NDArray[np.int8]) -> bool:
    """Say whether packed INT8 weights are 2:4: of four rows that lie beside each other at most two are not 0."""
    return bool((np.count_nonzero(panels, axis=3) <= KEPT).all())


def sparse_panels(panels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Pack INT8 panels that are 2:4 as [panels, ceil(k / 64) * 40, 64]: two values of four, behind them their places.

    The two places of a group differ, whatever it holds. native/sparse.h says which bits they are.

    >>> found = sparse_panels(int8_panels(np.int8([[0], [2], [0], [4], [5]])))
    >>> found.shape, found[0, 0, :4].tolist(), (found[0, 32, :4] & 3).tolist()
    ((1, 40, 64), [2, 4, 5, 0], [1, 3, 0, 1])
    """
    blocks, fours = panels.shape[:2]
    shape = (blocks, fours // 2, 2, PANEL, KEPT)
    used = (panels != 0).astype(np.uint8) @ np.array([1, 2, 4, 8], np.uint8)
    places = PLACES[used]
    values = np.take_along_axis(panels, places, axis=3).reshape(shape).transpose(0, 1, 3, 2, 4)
    groups = places.reshape(shape).transpose(0, 1, 3, 2, 4).reshape(blocks, fours // 2, GROUP, PANEL).astype(np.uint8)
    packed = np.zeros((blocks, fours // 2, PANEL), np.uint8)
    for group in range(GROUP):
        packed |= groups[:, :, group] << np.uint8(2 * group)
    return np.concatenate((values.reshape(blocks, fours * KEPT, PANEL), packed.view(np.int8)), axis=1)


def float_panels(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pack weights [k, n] as [panels, k, 64], zeros behind the last column."""
    depth, columns = weights.shape
    whole = np.zeros((depth, padded(columns)), np.float32)
    whole[:, :columns] = weights
    return np.ascontiguousarray(whole.reshape(depth, -1, PANEL).transpose(1, 0, 2))


def bf16_panels(panels: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round packed float weights to BF16 and pack them as [panels, ceil(k / 32) * 16, 64, 2], zeros behind k.

    >>> found = bf16_panels(float_panels(np.float32([[1], [-2], [3]])))
    >>> found.shape, (found[0, :2, 0] >> 7).tolist()
    ((1, 16, 64, 2), [[127, 384], [128, 0]])
    """
    blocks, depth, _ = panels.shape
    pairs = np.zeros((blocks, bf16_pairs(depth), 2, PANEL), np.uint16)
    pairs.reshape(blocks, -1, PANEL)[:, :depth] = bf16_bits(panels)
    return np.ascontiguousarray(pairs.transpose(0, 1, 3, 2))


def bf16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to BF16, to even, as the kernels do: a subnormal number becomes 0, NaN stays one.

    >>> bf16_bits(np.float32([1, 1.00390625, 1.01171875, 1e-40])).tolist()
    [16256, 16256, 16258, 0]
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    found = np.where(magnitude > np.uint32(0x7F800000), bits >> np.uint32(16) | np.uint32(0x40), rounded)
    return np.where(magnitude < np.uint32(0x800000), bits >> np.uint32(16) & np.uint32(0x8000), found).astype(np.uint16)


def float_vector(values: ArrayLike, columns: int) -> NDArray[np.float32]:
    """Give every column a number, or one to all of them; padding has 0, which keeps what is computed there finite."""
    whole = np.zeros(padded(columns), np.float32)
    whole[:columns] = values
    return whole


def compensation(weights: NDArray[np.int8], zero: int) -> NDArray[np.int32]:
    """Return what takes the zero point of the activations' codes out of a product: -zero * the columns' sums."""
    whole = np.zeros(padded(weights.shape[1]), np.int32)
    whole[: weights.shape[1]] = -zero * weights.sum(axis=0, dtype=np.int64)
    return whole
