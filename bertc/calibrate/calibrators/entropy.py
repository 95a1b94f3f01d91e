"""The range whose INT8 histogram diverges least from the values seen (Migacz, 8-bit inference with TensorRT, 2017)."""

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.histogram import Counts, bin_values

LINEAR_BINS = 2048
LEVELS = 128


def amax_from_counts(counts: Counts, amax: float, *, percentile: float) -> float:
    """Return the limit with the least Kullback-Leibler divergence among 121 limits from 1/16 of amax to amax."""
    if amax <= 0 or not counts.any():
        return amax
    occupied = np.flatnonzero(counts)
    share, _ = np.histogram(
        np.minimum(bin_values()[occupied], amax), bins=LINEAR_BINS, range=(0.0, amax), weights=counts[occupied]
    )
    # Exact zeros say nothing about the range and would outweigh everything (GELU, padding of a padded export).
    share[0] = share[1]
    stops = range(LEVELS, LINEAR_BINS + 1, 16)
    best = min(stops, key=lambda stop: _divergence(share, stop))
    return amax * best / LINEAR_BINS


def _divergence(share: NDArray[np.float64], stop: int) -> float:
    """Return KL(P || Q) where P is `share` clipped at `stop` bins and Q is P on 128 levels."""
    body = share[:stop]
    clipped = body.copy()
    clipped[-1] += share[stop:].sum()
    total = clipped.sum()
    if total == 0:
        return float("inf")
    level = np.minimum(np.arange(stop) * LEVELS // stop, LEVELS - 1)
    occupied = body > 0
    sums = np.bincount(level, weights=body, minlength=LEVELS)
    sizes = np.bincount(level, weights=occupied.astype(np.float64), minlength=LEVELS)
    spread = np.where(occupied, (sums / np.maximum(sizes, 1))[level], 0.0)
    if spread.sum() == 0:
        return float("inf")
    p = clipped / total
    q = spread / spread.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
