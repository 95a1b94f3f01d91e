"""Exponents and ranges chosen per site: by the error at the layer's output, and kept in the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.calibrate.collect import ranges_from_batches
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.per_site import SHARES, best_range, output_error
from bertc.calibrate.table import CalibrationTable, merge_tables, table_from_path, text_from_table
from bertc.core.progress import Silent
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.ir.sites import GEMM_INPUTS, Role, Site
from tests.tiny import LAYERS, TinyModel

SITES = tuple(Site(layer, role) for layer in range(LAYERS) for role in GEMM_INPUTS)


def table_of(model: TinyModel, *per_site: str) -> CalibrationTable:
    return ranges_from_batches(
        model.graph,
        model.features,
        exponent=DEFAULT_SMOOTHING,
        progress=Silent(),
        per_site=per_site,
    )


def test_an_outlier_that_matters_little_is_clipped_and_one_that_matters_is_not() -> None:
    generator = np.random.default_rng(0)
    sample = generator.normal(size=(400, 16)).astype(np.float32)
    sample[0, 0] = 8.0
    weights = generator.normal(size=(16, 8)).astype(np.float32)
    small, large = weights.copy(), weights.copy()
    small[0] *= 0.01
    large[0] *= 50
    assert best_range(sample, small, 8.0) < 8.0
    assert best_range(sample, large, 8.0) == 8.0


def test_the_best_range_has_the_least_error() -> None:
    generator = np.random.default_rng(1)
    sample = generator.standard_t(3, size=(300, 8)).astype(np.float32)
    weights = generator.normal(size=(8, 4)).astype(np.float32)
    amax = float(np.abs(sample).max())
    best = best_range(sample, weights, amax)
    errors = [output_error(sample, weights, amax=amax * share) for share in SHARES]
    assert output_error(sample, weights, amax=best) == min(errors)


def test_chosen_ranges_are_used_and_saved_and_lost_in_a_merge(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    table = table_of(tiny_classifier, "calibrator")
    for site in SITES:
        for smoothed in (False, True):
            statistics = table.statistics(site, smoothed=smoothed)
            assert statistics.chosen_amax is not None
            assert any(np.isclose(statistics.chosen_amax, statistics.amax * share) for share in SHARES)
            found = table.amax(site, RangeMethod(calibrator="max"), smoothed=smoothed)
            assert found == statistics.chosen_amax
    assert table.statistics(Site(0, Role.QUERY), smoothed=False).chosen_amax is None
    (tmp_path / "table.json").write_text(text_from_table(table))
    again = table_from_path(tmp_path / "table.json")
    assert again.sites[SITES[0]].chosen_amax == pytest.approx(table.sites[SITES[0]].chosen_amax)
    assert merge_tables(table, table).sites[SITES[0]].chosen_amax is None


def test_exponents_per_site_change_the_factors_and_plain_calibration_does_not(tiny_classifier: TinyModel) -> None:
    plain, chosen = tiny_classifier.table, table_of(tiny_classifier, "smoothing")
    same = table_of(tiny_classifier)
    assert all(np.array_equal(plain.smoothing[site], same.smoothing[site]) for site in SITES)
    assert any(not np.allclose(plain.smoothing[site], chosen.smoothing[site]) for site in SITES)
    assert chosen.smoothed.keys() == plain.smoothed.keys()
    assert all(found.chosen_amax is None for found in chosen.sites.values())
