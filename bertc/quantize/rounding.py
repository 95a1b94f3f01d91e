"""Round weights so that the errors of a GEMM's inputs cancel at its output (GPTQ, Frantar et al., arXiv:2210.17323).

Rounding to nearest minimises the error of each weight; what counts is the error of x W over the text. Row by row of W
(input channels, the most energetic first) the weights are rounded, and each row's error is made good by the rows that
are still to come, with the inverse of X^T X as the exchange rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.core.linalg import inverse_factor
from bertc.ir.affine import CODE_MAX, WEIGHT_CODE_MIN

DAMPING = 0.01
"""Share of the mean energy added to every channel's, as in the paper: the inverse exists and forgets the noise."""

ROWS = 128
"""Rows whose errors are passed on at once: speed alone."""


def codes_from_moments(
    weights: NDArray[np.float32], scale: NDArray[np.float32], moments: NDArray[np.float64]
) -> NDArray[np.int8]:
    """Quantize weights [in, out] with one scale, or one per output column, to codes -127..127.

    `moments` is the sum of x x^T over the GEMM's inputs, [in, in], of the centred ones where the bias takes the mean.
    Weights that are 0 stay 0 (a 2:4 mask is kept). A channel that the text never used is rounded to nearest.

    >>> correlated = np.float64([[1.0, 0.999], [0.999, 1.0]])
    >>> codes_from_moments(np.float32([[1.4], [1.4]]), np.float32(1.0), correlated).ravel().tolist()
    [1, 2]
    """
    factor, order = _damped_factor(moments)
    inverse = factor.astype(np.float32)  # what it weighs are roundings, which need no more digits
    left = weights[order]
    step = np.broadcast_to(scale, left.shape[1:])
    pruned = left == 0
    codes = np.empty(left.shape, np.int8)
    for start in range(0, len(left), ROWS):
        stop = min(start + ROWS, len(left))
        errors = np.empty((stop - start, left.shape[1]), np.float32)
        for row in range(start, stop):
            rounded = np.clip(np.rint(left[row] / step), WEIGHT_CODE_MIN, CODE_MAX)
            rounded[pruned[row]] = 0
            codes[row] = rounded
            error = (left[row] - rounded * step) / inverse[row, row]
            left[row + 1 : stop] -= np.outer(inverse[row, row + 1 : stop], error)
            errors[row - start] = error
        left[stop:] -= inverse[start:stop, stop:].T @ errors
    restored = np.empty_like(codes)
    restored[order] = codes
    return restored


def _damped_factor(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the upper Cholesky factor of the damped inverse, rows in the order of falling energy, and that order."""
    energy = np.diag(matrix)
    order = np.argsort(-energy, kind="stable")
    damped = matrix[np.ix_(order, order)]
    unused = np.flatnonzero(energy[order] <= 0)
    damped[unused, unused] = 1.0
    damped[np.diag_indices(len(matrix))] += DAMPING * float(energy.mean()) or 1.0
    return inverse_factor(damped), order
