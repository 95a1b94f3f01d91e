"""Weights as the kernels read them: panels of 64 columns, and vectors padded to whole panels (native/bertc.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertc.runtime.native.kernel_plan import PANEL, padded

GROUP = 4
"""Rows of INT8 weights that lie beside each other: what one instruction multiplies and adds."""


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


def float_panels(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pack weights [k, n] as [panels, k, 64], zeros behind the last column."""
    depth, columns = weights.shape
    whole = np.zeros((depth, padded(columns)), np.float32)
    whole[:, :columns] = weights
    return np.ascontiguousarray(whole.reshape(depth, -1, PANEL).transpose(1, 0, 2))


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
