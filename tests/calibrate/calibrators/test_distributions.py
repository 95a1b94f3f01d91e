"""Calibrators on distributions whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.calibrate.calibrators import calibrator_from_name
from bertc.calibrate.histogram import counts_from_values
from bertc.core.plugins import CALIBRATORS
from bertc.ir.affine import fake_quantize, scale_from_amax

BIN = 0.0079
"""Largest relative width of a bin."""


def ranged(name: str, values: np.ndarray, percentile: float = 99.99) -> float:
    """Return a calibrator's range for values."""
    amax = float(np.abs(values).max(initial=0.0))
    return calibrator_from_name(name).amax_from_counts(counts_from_values(values), amax, percentile=percentile)


def gaussian(seed: int = 0, size: int = 100_000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def with_outlier(outlier: float = 60.0) -> np.ndarray:
    return np.append(gaussian(), np.float32(outlier))


def squared_error(values: np.ndarray, amax: float) -> float:
    return float(np.mean((fake_quantize(values, scale_from_amax(amax)).astype(np.float64) - values) ** 2))


def test_max_is_exact() -> None:
    values = with_outlier(61.23456)
    assert ranged("max", values) == np.float32(61.23456)
    assert ranged("max", -values) == np.float32(61.23456)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 99.99])
@pytest.mark.parametrize("values", [gaussian(), with_outlier(), np.abs(gaussian(3)) ** 3], ids=["body", "far", "cube"])
def test_percentile_is_numpy_s_within_a_bin(values: np.ndarray, percentile: float) -> None:
    expected = np.percentile(np.abs(values), percentile, method="inverted_cdf")
    assert ranged("percentile", values, percentile) == pytest.approx(expected, rel=BIN)


def test_another_percentile_is_another_range() -> None:
    """The negative twin: the percentile is read, and the outlier is cut off."""
    assert ranged("percentile", with_outlier(), 99.0) < 0.8 * ranged("percentile", with_outlier(), 99.99)
    assert ranged("percentile", with_outlier(), 99.99) < 6 < ranged("max", with_outlier())


def test_percentile_100_reaches_the_maximum() -> None:
    assert ranged("percentile", with_outlier(), 100.0) == pytest.approx(60.0, rel=BIN)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outlier", [1.0, 5.0, 60.0])
def test_mse_is_never_worse_than_max(seed: int, outlier: float) -> None:
    values = np.append(gaussian(seed, 20_000), np.float32(outlier))
    found = ranged("mse", values)
    assert squared_error(values, found) <= 1.001 * squared_error(values, ranged("max", values))


def test_mse_clips_where_it_pays_and_only_there() -> None:
    values = np.append(gaussian(), np.float32(20.0))
    found = ranged("mse", values)
    assert found < 15 and squared_error(values, found) < 0.75 * squared_error(values, 20.0)
    uniform = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    assert ranged("mse", uniform) > 0.95


def test_entropy_cuts_an_outlier_off_a_gaussian_and_keeps_the_body() -> None:
    assert 2.5 < ranged("entropy", with_outlier()) < 15
    uniform = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    assert ranged("entropy", uniform) > 0.9


@pytest.mark.parametrize("name", CALIBRATORS.names())
def test_a_site_of_zeros_gives_zero(name: str) -> None:
    assert ranged(name, np.zeros(1000, np.float32)) == 0


@pytest.mark.parametrize("name", CALIBRATORS.names())
@pytest.mark.parametrize("value", [1e-6, 0.75, 3.0, 1e4])
def test_a_single_value_is_its_own_range(name: str, value: float) -> None:
    assert ranged(name, np.float32([value])) == pytest.approx(value, rel=BIN)
    assert ranged(name, np.full(500, -value, np.float32)) == pytest.approx(value, rel=BIN)


@pytest.mark.parametrize("name", CALIBRATORS.names())
def test_ranges_scale_with_the_values(name: str) -> None:
    once, eightfold = ranged(name, with_outlier()), ranged(name, 8 * with_outlier())
    assert eightfold == pytest.approx(8 * once, rel=0.02)


@pytest.mark.parametrize("name", ["percentile", "entropy", "mse"])
def test_zeros_do_not_pull_a_range_to_nothing(name: str) -> None:
    values = np.concatenate([np.abs(gaussian()), np.zeros(100_000, np.float32)])
    assert ranged(name, values) > 2
