"""Second moments and weights for the tests of pruning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram


def gram_of(x: NDArray[Any]) -> Gram:
    """Return the moments of tokens [tokens, channels]."""
    wide = x.astype(np.float64)
    return Gram(len(wide), wide.T @ wide, wide.sum(axis=0))


def correlated_gram(width: int, *, seed: int = 0) -> Gram:
    """Return the moments of channels that share much of what they say, at different loudness."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((8 * width, width)) @ generator.standard_normal((width, width))
    return gram_of((mixed + 3 * mixed[:, :1]) * generator.uniform(0.1, 5, width))


def random_weight(width: int, columns: int, *, seed: int = 7) -> NDArray[np.float32]:
    """Return a weight [width, columns]."""
    return np.random.default_rng(seed).standard_normal((width, columns)).astype(np.float32)


def output_error(weight: NDArray[np.float32], pruned: NDArray[np.float32], gram: Gram) -> float:
    """Return ||x W - x W'||^2."""
    lost = (weight - pruned).astype(np.float64)
    return float(np.vdot(lost, gram.matrix @ lost))
