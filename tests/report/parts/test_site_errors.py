"""The report's words for sites and their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bertc.calibrate.histogram import counts_from_values
from bertc.calibrate.table import Statistics
from bertc.ir.sites import Role, Site
from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from bertc.report.parts.site_errors import HISTOGRAM_BINS, histogram_part, worst_sites


def test_errors_are_those_of_an_eight_bit_grid(facts: BuildFacts) -> None:
    errors = {site.site: site.error for site in report_from_facts(facts, rows="rows.npz").sites if site.lowered}
    assert all(error is not None and 0 < error < 0.1 for error in errors.values()), errors


def test_only_the_worst_sites_have_histograms(facts: BuildFacts) -> None:
    some = {
        Site(0, Role.ACTIVATION): 0.5,
        Site(1, Role.HIDDEN): 0.1,
        Site(1, Role.ACTIVATION): 0.9,
        Site(0, Role.HIDDEN): 0.2,
    }
    report = report_from_facts(replace(facts, sensitivity=some), rows="rows.npz")
    assert report.worst_sites == ("layer.1.gelu", "layer.0.gelu", "layer.0.hidden")
    assert {site.site for site in report.sites if site.histogram} == set(report.worst_sites)
    assert {site.site: site.sensitivity for site in report.sites if site.sensitivity} == {
        site.name: value for site, value in some.items()
    }
    assert worst_sites({}) == ()


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, 3.0], [1e-20, 1e20], list(np.linspace(0, 1, 1000))])
def test_a_histogram_loses_no_value(values: list[float]) -> None:
    array = np.array(values, np.float32)
    statistics = Statistics(counts=counts_from_values(array), amax=float(array.max()))
    part = histogram_part(statistics)
    assert sum(part.counts) == len(values)
    assert len(part.counts) == HISTOGRAM_BINS
