"""The range with the least mean squared error of quantizing the values seen."""

import numpy as np

from bertc.calibrate.histogram import Counts, bin_values
from bertc.ir.affine import CODE_MAX

CANDIDATES = 100


def amax_from_counts(counts: Counts, amax: float, *, percentile: float) -> float:
    """Return the best of 100 ranges from amax / 100 to amax."""
    if amax <= 0 or not counts.any():
        return amax
    occupied = np.flatnonzero(counts)
    values, weights = bin_values()[occupied], counts[occupied].astype(np.float64)
    ranges = amax * np.arange(1, CANDIDATES + 1) / CANDIDATES

    def error(limit: float) -> float:
        scale = limit / CODE_MAX
        codes = np.minimum(np.rint(values / scale), CODE_MAX)
        return float(weights @ (values - codes * scale) ** 2)

    return float(min(ranges, key=error))
