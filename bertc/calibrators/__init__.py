"""A calibrator is one file here: it turns a site's histogram into the largest magnitude that INT8 represents.

Each module has `amax_from_counts(counts, amax, *, percentile) -> float`: `counts` are the bins of
`bertc.calibrate.histogram`, `amax` the exact largest magnitude seen, `percentile` the user's (99.99) for those that
use it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol

from bertc.calibrate.histogram import Counts
from bertc.errors import InputError


class Calibrator(Protocol):
    """What a module of this package offers."""

    def amax_from_counts(self, counts: Counts, amax: float, *, percentile: float) -> float:
        """Return the largest magnitude to represent."""


def calibrator_names() -> tuple[str, ...]:
    """List the calibrators by file name."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def calibrator_from_name(name: str) -> Calibrator:
    """Find a calibrator. Raises `InputError` naming those that exist."""
    if name not in calibrator_names():
        raise InputError(f"calibrator '{name}' does not exist; choose one of {', '.join(calibrator_names())}")
    module: Calibrator = importlib.import_module(f"bertc.calibrators.{name}")
    return module
