"""The calibration table: what was observed at every site, mergeable, saved as JSON with its origin.

A table holds statistics, not ranges: a calibrator turns them into ranges when a scheme asks, so one table serves every
mode, granularity and calibrator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.calibrate.calibrators import calibrator_from_name
from bertc.calibrate.histogram import BINS, Counts, bin_values, counts_from_text, text_from_counts
from bertc.calibrate.method import RangeMethod
from bertc.core.array_text import array_from_text, text_from_array
from bertc.core.keys import Key
from bertc.errors import InputError
from bertc.ir.affine import CODE_MAX
from bertc.ir.sites import Role, Site, site_from_name

SCHEMA = 1
TABLE_FILE = "calibration.json"
"""A table in a folder: the cache's, an artefact's, or a checkpoint's, of whose digest it is no part."""

REMEDY = "give one that bertc calibrate wrote, or calibrate again"
_KEYS = frozenset({"schema", "checkpoint", "origin", "sites", "overrides"})

MOST_BYTES = 1 << 24
"""More than this is no vector of one value per channel."""

DEFAULT_PERCENTILE = 99.99
RESIDUAL_STREAM = (Role.HIDDEN, Role.ATTENTION_GEMM, Role.ATTENTION_NORM, Role.OUTPUT_GEMM)
"""LayerNorm outputs, and the GEMM outputs that are added to them."""

COLLAPSE = 0.9
"""Share of a site's energy lost to quantization above which the model cannot survive (onnxruntime#10571's bug gives
1.0; outliers clipped on purpose, below 0.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What was seen at one site: the histogram of |x|, its exact maximum, and the maximum per channel.

    `channel_amax` is float32 [channels] for values with channels, None for `scores` and `probs`, and for smoothed
    values but a GEMM's output. `chosen_amax` is the range with the least error at the layer's output, where it was
    searched for (calibrate/per_site.py).
    """

    counts: Counts
    amax: float
    channel_amax: NDArray[np.float32] | None = None
    chosen_amax: float | None = None

    def merged(self, other: Statistics) -> Statistics:
        """Combine two observations; the order does not matter. A chosen range is that of neither and goes."""
        channels = self.channel_amax
        if channels is not None and other.channel_amax is not None:
            channels = np.maximum(channels, other.channel_amax)
        return Statistics(counts=self.counts + other.counts, amax=max(self.amax, other.amax), channel_amax=channels)

    @property
    def mean(self) -> float:
        """E|x|."""
        occupied = np.flatnonzero(self.counts)
        return float(np.average(bin_values()[occupied], weights=self.counts[occupied])) if occupied.size else 0.0

    def quantization_error(self, amax: float, codes: int = CODE_MAX) -> float:
        """Return E[(q(x) - x)^2] / E[x^2] on an INT8 grid that ends at `amax`, with so many codes above 0."""
        occupied = np.flatnonzero(self.counts)
        values, weights = bin_values()[occupied], self.counts[occupied].astype(np.float64)
        energy = float(weights @ values**2)
        if energy == 0:
            return 0.0
        scale = max(amax, 1e-30) / codes
        error = values - np.minimum(np.rint(values / scale), codes) * scale
        return float(weights @ error**2) / energy


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTable:
    """Statistics of every site, plain and (where `smoothing` has factors) of the smoothed values.

    `smoothing[site]` is m, float32 [channels]; `smoothed` are the statistics after it: x / m for a GEMM input, and of
    `value` and `value_gemm` with the context's m folded in. `overrides` fixes ranges by hand.
    """

    sites: Mapping[Site, Statistics]
    smoothed: Mapping[Site, Statistics] = field(default_factory=dict)
    smoothing: Mapping[Site, NDArray[np.float32]] = field(default_factory=dict)
    exponent: float | None = None
    checkpoint: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[Site, float] = field(default_factory=dict)

    def statistics(self, site: Site, *, smoothed: bool) -> Statistics:
        """Return a site's statistics. Raises `InputError` when the table does not have the site."""
        found = self.smoothed.get(site) if smoothed else None
        found = found or self.sites.get(site)
        if found is None:
            raise InputError(f"the calibration table has no site {site}; it belongs to another model, calibrate again")
        return found

    def cache_key(self) -> Key:
        """Return the digest of what was seen; the origin says where, and no stage computes with it."""
        return hashlib.sha256(text_from_table(replace(self, origin={})).encode()).hexdigest()

    def amax(self, site: Site, method: RangeMethod, *, smoothed: bool) -> float:
        """Return the range of a site.

        Raises `InputError` for a range that would collapse the model.
        """
        if site in self.overrides:
            return self.overrides[site]
        if site.role is Role.PROBS:
            return 1.0  # a softmax is bounded by 1, whatever the calibration text showed
        statistics = self.statistics(site, smoothed=smoothed)
        if statistics.chosen_amax is not None:
            return statistics.chosen_amax
        calibrator = calibrator_from_name(method.calibrator)
        share = default_percentile(site.role) if method.percentile is None else method.percentile
        amax = calibrator.amax_from_counts(statistics.counts, statistics.amax, percentile=share)
        if statistics.amax > 0 and statistics.quantization_error(amax) > COLLAPSE:
            raise InputError(
                f"calibrator '{method.calibrator}' gives {site} the range {amax:.3g} where values reach "
                f"{statistics.amax:.3g}, which would collapse the model; use --calibrator percentile or max"
            )
        return amax


def default_percentile(role: Role) -> float:
    """Return the percentile that is right for most models: 99.99, but 100 on the residual stream.

    Its largest values stand in one channel of the separator tokens, one value in ten thousand or less, and every token
    attends to them: clipping them is cheap on average and ruins the model (docs/decisions/0004-percentiles.md).
    """
    return 100.0 if role in RESIDUAL_STREAM else DEFAULT_PERCENTILE


def merge_tables(first: CalibrationTable, second: CalibrationTable) -> CalibrationTable:
    """Combine two observations of one model; any order gives bit-identical results.

    Shards of one text are calibrated in two steps: `plain_from_batches` of each, merged, gives the smoothing factors;
    `smoothed_from_batches` of each with those factors, merged, gives the table of the whole text.

    Raises `InputError` when they belong to different checkpoints, sites or smoothing factors.
    """
    same = first.checkpoint == second.checkpoint and first.sites.keys() == second.sites.keys()
    same = same and first.smoothing.keys() == second.smoothing.keys() and first.overrides == second.overrides
    if not same or any(not np.array_equal(first.smoothing[site], second.smoothing[site]) for site in first.smoothing):
        raise InputError("the calibration tables belong to different models or smoothing factors and cannot be merged")
    return replace(
        first,
        sites={site: found.merged(second.sites[site]) for site, found in first.sites.items()},
        smoothed={site: found.merged(second.smoothed[site]) for site, found in first.smoothed.items()},
        origin=_merged_origin(first.origin, second.origin),
    )


def _merged_origin(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Combine two origins in a form that does not depend on the order: rows add, the rest becomes a sorted set."""
    merged: dict[str, Any] = {}
    for name in sorted(first.keys() | second.keys()):
        values = [origin[name] for origin in (first, second) if name in origin]
        if name == "rows":
            merged[name] = sum(values)
        elif all(value == values[0] for value in values) and name != "row_hashes":
            merged[name] = values[0]
        else:
            parts = {str(item) for value in values for item in (value if isinstance(value, list) else [value])}
            merged[name] = sorted(parts)
    return merged


def text_from_table(table: CalibrationTable) -> str:
    """Write a table as JSON."""
    document = {
        "schema": SCHEMA,
        "checkpoint": table.checkpoint,
        "origin": dict(table.origin),
        "exponent": table.exponent,
        "sites": {site.name: _packed(found) for site, found in sorted(table.sites.items())},
        "smoothed": {site.name: _packed(found) for site, found in sorted(table.smoothed.items())},
        "smoothing": {site.name: text_from_array(factors) for site, factors in sorted(table.smoothing.items())},
        "overrides": {site.name: amax for site, amax in sorted(table.overrides.items())},
    }
    return json.dumps(document, indent=1) + "\n"


def table_from_path(path: Path) -> CalibrationTable:
    """Read a table. Raises `InputError` on a file that is missing, damaged, or something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"calibration table {path} does not exist; bertc calibrate writes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a calibration table: {error}; {REMEDY}") from error
    if not isinstance(document, dict) or not document.keys() >= _KEYS:
        raise InputError(f"{path} is not a calibration table; {REMEDY}")
    if document.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a calibration table of schema {SCHEMA}; calibrate again")
    try:
        smoothed = _statistics(document["smoothed"])
        unseen = sorted(document["smoothing"].keys() - {site.name for site in smoothed})
        if unseen:
            raise ValueError(f"it has smoothing factors of {unseen[0]} and not what was seen behind them")
        return CalibrationTable(
            sites=_statistics(document["sites"]),
            smoothed=smoothed,
            smoothing={site_from_name(name): _factors(v) for name, v in document["smoothing"].items()},
            exponent=document["exponent"],
            checkpoint=str(document["checkpoint"]),
            origin=dict(document["origin"]),
            overrides={site_from_name(name): _override(name, amax) for name, amax in document["overrides"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is a damaged calibration table ({error}); calibrate again") from error


def _packed(statistics: Statistics) -> dict[str, Any]:
    channels = statistics.channel_amax
    return {
        "amax": statistics.amax,
        "histogram": text_from_counts(statistics.counts),
        "channel_amax": None if channels is None else text_from_array(channels),
        "chosen_amax": statistics.chosen_amax,
    }


def _statistics(document: Mapping[str, Any]) -> dict[Site, Statistics]:
    found = {}
    for name, entry in document.items():
        channels = entry["channel_amax"]
        counts = counts_from_text(entry["histogram"])
        assert counts.size == BINS
        chosen = entry.get("chosen_amax")
        found[site_from_name(name)] = Statistics(
            counts=counts,
            amax=_positive(entry["amax"]),
            channel_amax=None if channels is None else _array(channels),
            chosen_amax=None if chosen is None else _positive(chosen),
        )
    return found


def _array(values: Any) -> NDArray[np.float32]:
    array = array_from_text(values, np.float32, most=MOST_BYTES)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("a vector holds something else than finite numbers")
    return array


def _factors(values: Any) -> NDArray[np.float32]:
    array = _array(values)
    if (array <= 0).any():
        raise ValueError("a smoothing factor is not positive")
    return array


def _positive(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number) or number < 0:
        raise ValueError(f"a range is {value}")
    return number


def _override(name: str, value: Any) -> float:
    """Read a range that was fixed by hand, which has no observed maximum to be 0 with."""
    number = float(value) if isinstance(value, (int, float)) else 0.0
    if not np.isfinite(number) or number <= 0:
        raise ValueError(f"the override of {name} is {value}, which is no positive range")
    return number
