"""Where training for one scale per tensor starts: ranges and weights that a few outliers do not stretch.

Calibration keeps the largest values, since post-training quantization dies when they are clipped. Training can do
without them, but it cannot shrink a range that one weight of 175 standard deviations holds open: at the usual rates a
weight moves by some hundredths (docs/decisions/0006-where-training-starts.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.table import CalibrationTable
from bertc.ir.affine import CODE_MAX
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site

Array = NDArray[np.float32]


def largest_of_start(mean: float) -> float:
    """Return the range at which LSQ starts, 2 E|x| sqrt(127) (Esser et al. 2020, arXiv:1902.08153, section 2.1).

    The paper gives the scale, 2 E|x| / sqrt(127); the range is 127 of it.
    """
    return 2.0 * mean * float(np.sqrt(CODE_MAX))


def table_of_start(table: CalibrationTable, scheme: Scheme, scales: Mapping[Site, Array]) -> CalibrationTable:
    """Return the table with LSQ's range at every site whose calibrated one is larger.

    `scales` are the calibrated ones under the scheme, []. Ranges that are fixed by hand or were trained stay, and so
    does that of `probs`, which is known.
    """
    ranges = {}
    for site, scale in scales.items():
        if site not in table.overrides and site.role is not Role.PROBS:
            mean = table.statistics(site, smoothed=scheme.smoothing is not None).mean
            ranges[site] = min(float(scale) * CODE_MAX, largest_of_start(mean))
    return replace(table, overrides={**table.overrides, **ranges})


def weights_of_start(weights: Array) -> Array:
    """Return weights [in, out] clipped to the range of LSQ's start: 18 standard deviations of a normal distribution."""
    largest = np.float32(largest_of_start(float(np.abs(weights).mean(dtype=np.float64))))
    return np.clip(weights, -largest, largest)
