"""What the solvers of rounding and pruning need of linear algebra and numpy does not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 128
"""Side of the largest triangle that is inverted as it is: speed alone."""


def inverse_factor(matrix: Array) -> Array:
    """Return the upper triangular U with U^T U = inv(A), for a symmetric positive definite A [n, n].

    A = R R^T with R upper gives inv(A) = inv(R)^T inv(R): the inverse itself, six times the work, is never made.
    Raises `numpy.linalg.LinAlgError` for a matrix that is not positive definite.

    >>> inverse_factor(np.diag([4.0, 0.25])).tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    """
    # numpy's factor is lower and begins with the first row; turned around, it is R and begins with the last.
    lower = np.asarray(np.linalg.cholesky(matrix[::-1, ::-1]), np.float64)
    return _upper_inverse(lower[::-1, ::-1])


def _upper_inverse(upper: Array) -> Array:
    """Invert an upper triangular matrix by halves, whose products are what BLAS is fast at."""
    if len(upper) <= BLOCK:
        return np.triu(np.linalg.inv(upper))
    half = len(upper) // 2
    found = np.zeros_like(upper)
    found[:half, :half] = _upper_inverse(upper[:half, :half])
    found[half:, half:] = _upper_inverse(upper[half:, half:])
    found[:half, half:] = -found[:half, :half] @ upper[:half, half:] @ found[half:, half:]
    return found
