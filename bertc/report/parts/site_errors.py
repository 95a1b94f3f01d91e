"""What quantization does to each site, in the report's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bertc.calibrate.histogram import bin_values
from bertc.calibrate.table import Statistics
from bertc.ir.affine import CODE_MAX
from bertc.ir.sites import Role, Site
from bertc.report.parts.facts import BuildFacts
from bertc.report.schema import HistogramPart, SitePart

WORST = 3
HISTOGRAM_BINS = 48


def worst_sites(sensitivity: Mapping[Site, float]) -> tuple[str, ...]:
    """Return the three sites whose quantization alone moves the outputs most, worst first."""
    return tuple(site.name for site in sorted(sensitivity, key=lambda site: -sensitivity[site])[:WORST])


def site_parts(facts: BuildFacts) -> tuple[SitePart, ...]:
    """Write scale, error and sensitivity of every site of the mode, and the histograms of the worst."""
    scheme, table, quantized = facts.scheme, facts.table, facts.quantized
    if scheme is None or table is None or quantized is None:
        return ()
    worst = worst_sites(facts.sensitivity)
    parts = []
    for layer in range(facts.layers):
        for role in Role:
            site = Site(layer, role)
            if role not in scheme.mode.roles:
                continue
            scale = quantized.scales.get(site)
            if scale is None:
                parts.append(SitePart(site=site.name, role=role, layer=layer, lowered=False))
                continue
            statistics = table.statistics(site, smoothed=scheme.smoothing is not None)
            largest = float(np.max(scale))
            zero_point = quantized.zero_points.get(site, 0)
            codes = CODE_MAX - zero_point
            parts.append(
                SitePart(
                    site=site.name,
                    role=role,
                    layer=layer,
                    lowered=True,
                    amax=largest * codes,
                    scale=largest,
                    zero_point=zero_point,
                    error=_error(statistics, scale, codes),
                    sensitivity=facts.sensitivity.get(site),
                    histogram=histogram_part(statistics) if site.name in worst and statistics.counts.any() else None,
                )
            )
    return tuple(parts)


def _error(statistics: Statistics, scale: Any, codes: int) -> float | None:
    """Return rms(q(x) - x) / rms(x) from the histogram; with a scale per column, rounding's s^2 / 12 of each.

    `codes` are those above 0.

    None where the table has a range and no histogram.
    """
    if not statistics.counts.any():
        return None
    if np.ndim(scale) == 0:
        return float(np.sqrt(statistics.quantization_error(float(scale) * codes, codes)))
    counts = statistics.counts.astype(np.float64)
    occupied = np.flatnonzero(counts)
    energy = float(counts[occupied] @ bin_values()[occupied] ** 2) / max(float(counts.sum()), 1.0)
    return float(np.sqrt(np.mean(np.asarray(scale, np.float64) ** 2) / 12 / max(energy, 1e-30)))


def histogram_part(statistics: Statistics) -> HistogramPart:
    """Rebin a site's magnitudes into 48 equal bins up to the largest."""
    occupied = np.flatnonzero(statistics.counts)
    largest = max(statistics.amax, 1e-12)
    counts, edges = np.histogram(
        np.minimum(bin_values()[occupied], largest),
        bins=HISTOGRAM_BINS,
        range=(0.0, largest),
        weights=statistics.counts[occupied],
    )
    return HistogramPart(edges=tuple(map(float, edges)), counts=tuple(int(count) for count in counts))
