"""A criterion is one file here: it says which weights of a GEMM to keep, and what becomes of those kept.

Each module has the names of `Criterion`. Weights are float32 [in, out], a Gram's matrix float64 [in, in].
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.core.plugins import CRITERIA


class Criterion(Protocol):
    """What a module of this package offers."""

    NEEDS_TEXT: bool
    """Whether it weighs errors with the second moments of the GEMM's input; without, `gram` may be None."""

    def scores_from_weight(self, weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float64]:
        """Return how much each weight matters, [in, out] >= 0; what the channel permutation keeps most of."""

    def prune_weight(self, weight: NDArray[np.float32], gram: Gram | None) -> NDArray[np.float32]:
        """Return the weight pruned 2:4, [in, out]."""


def criterion_from_name(name: str) -> Criterion:
    """Find a criterion. Raises `InputError` naming those that exist."""
    return cast(Criterion, CRITERIA.module(name))
