"""The Cholesky factor of an inverse."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.core.linalg import BLOCK, inverse_factor


@pytest.mark.parametrize("size", [1, 2, BLOCK, BLOCK + 1, 2 * BLOCK + 3, 5 * BLOCK])
def test_the_factor_is_upper_and_its_square_is_the_inverse(size: int) -> None:
    x = np.random.default_rng(size).standard_normal((2 * size, size))
    matrix = x.T @ x + np.eye(size)
    before = matrix.copy()
    factor = inverse_factor(matrix)
    assert np.array_equal(factor, np.triu(factor)) and (np.diagonal(factor) > 0).all()
    np.testing.assert_allclose(factor.T @ factor @ matrix, np.eye(size), atol=1e-9)
    assert np.array_equal(matrix, before)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        inverse_factor(np.diag([1.0, -1.0]))
    with pytest.raises(np.linalg.LinAlgError):
        inverse_factor(np.ones((4, 4)) - np.eye(4))
