"""Criterion `wanda`: weigh each weight with the norm of the input that it multiplies.

score = |W_ij| * ||x_i||_2, the norm over all tokens of the text (Sun et al. 2023, arXiv:2306.11695). The kept weights
stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.prune.pattern import mask_from_scores

NEEDS_TEXT = True


def scores_from_weight(weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float64]:
    """Return |W_ij| ||x_i||_2."""
    assert gram is not None
    return np.abs(weight.astype(np.float64)) * np.sqrt(np.diagonal(gram.matrix))[:, None]


def prune_weight(weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float32]:
    """Set all but the two of each group with the largest scores to zero."""
    return np.where(mask_from_scores(scores_from_weight(weight, gram)), weight, np.float32(0))
