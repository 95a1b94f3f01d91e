"""Criterion `sparsegpt`: prune input by input and let the inputs that follow make up for it.

Frantar & Alistarh 2023, arXiv:2301.00774, algorithm 1 in its n:m form. With H = X^T X and H^-1 = U^T U (U upper
triangular), the error of setting W_ij to zero after the inputs before i are settled is (W_ij / U_ii)^2, and the best
change of the inputs k > i is -U_ik W_ij / U_ii.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.core.linalg import inverse_factor
from bertc.prune.pattern import GROUP, mask_from_scores

NEEDS_TEXT = True
DAMPENING = 0.01
"""Added to H's diagonal, as a part of its mean (the paper's value): inputs that never vary apart have no inverse."""

BLOCK = 128
"""Inputs that are settled before the rest is updated by one product."""

Array = NDArray[np.float64]


def scores_from_weight(weight: NDArray[np.float32], gram: Gram | None) -> Array:
    """Return |W_ij| / sqrt(H^-1_ii), the error of removing one weight alone when all others adapt."""
    assert gram is not None
    inverse = np.linalg.inv(_dampened(gram.matrix))
    scores: Array = np.abs(weight.astype(np.float64)) / np.sqrt(np.diagonal(inverse))[:, None]
    return scores


def prune_weight(weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float32]:
    """Prune and update, the inputs in their order."""
    assert gram is not None
    upper = inverse_factor(_dampened(gram.matrix))
    left = weight.astype(np.float64)
    left[np.diagonal(gram.matrix) == 0] = 0  # what multiplies an input that is always zero is free
    for begin in range(0, len(left), BLOCK):
        end = min(begin + BLOCK, len(left))
        errors = _settle_block(left[begin:end], upper[begin:end, begin:end])
        left[end:] -= upper[begin:end, end:].T @ errors
    return left.astype(np.float32)


def _settle_block(weight: Array, upper: Array) -> Array:
    """Prune the inputs of a block [block, out] in place, each updating those after it; returns their errors / U_ii."""
    errors = np.empty_like(weight)
    kept = np.empty(weight.shape, bool)
    for row in range(len(weight)):
        if row % GROUP == 0:
            group = slice(row, row + GROUP)
            kept[group] = mask_from_scores(np.abs(weight[group]) / np.diagonal(upper)[group, None])
        errors[row] = np.where(kept[row], 0.0, weight[row]) / upper[row, row]
        weight[row][~kept[row]] = 0
        weight[row + 1 :] -= np.outer(upper[row, row + 1 :], errors[row])
    return errors


def _dampened(matrix: Array) -> Array:
    """Return H with a positive diagonal, also for inputs that are always zero."""
    diagonal = np.diagonal(matrix)
    added = np.where(diagonal == 0, diagonal.mean() or 1.0, DAMPENING * diagonal.mean())
    return np.asarray(matrix + np.diag(added), np.float64)
