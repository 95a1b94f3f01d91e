"""The magnitude below which a given share of all values lies (99.99 % by default)."""

import numpy as np

from bertc.calibrate.histogram import Counts, bin_values


def amax_from_counts(counts: Counts, amax: float, *, percentile: float) -> float:
    """Return the percentile of |x|, at most `amax`; exact to half a bin (0.4 %)."""
    total = int(counts.sum())
    if total == 0:
        return amax
    rank = np.searchsorted(np.cumsum(counts), total * percentile / 100.0)
    return float(min(bin_values()[min(int(rank), counts.size - 1)], amax))
