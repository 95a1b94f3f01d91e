"""A calibrator is one file here: it turns a site's histogram into the largest magnitude that INT8 represents.

Each module has `amax_from_counts(counts, amax, *, percentile) -> float`: `counts` are the bins of
`bertc.calibrate.histogram`, `amax` the exact largest magnitude seen, `percentile` the user's (99.99) for those that
use it.
"""

from __future__ import annotations

from typing import Protocol, cast

from bertc.calibrate.histogram import Counts
from bertc.core.plugins import CALIBRATORS


class Calibrator(Protocol):
    """What a module of this package offers."""

    def amax_from_counts(self, counts: Counts, amax: float, *, percentile: float) -> float:
        """Return the largest magnitude to represent."""


def calibrator_from_name(name: str) -> Calibrator:
    """Find a calibrator. Raises `InputError` naming those that exist."""
    return cast(Calibrator, CALIBRATORS.module(name))
