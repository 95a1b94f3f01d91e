"""Criterion `magnitude`: keep the largest weights (Mishra et al. 2021, arXiv:2104.08378). Needs no text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.prune.pattern import mask_from_scores

NEEDS_TEXT = False


def scores_from_weight(weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float64]:
    """Return |W|."""
    return np.abs(weight.astype(np.float64))


def prune_weight(weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float32]:
    """Set all but the two largest of each group to zero."""
    return np.where(mask_from_scores(scores_from_weight(weight, gram)), weight, np.float32(0))
