"""The INT8 arithmetic: scale = amax / 127, round half to even, saturate."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.ir.affine import codes_from_weights, fake_quantize, grid_from_range, scale_from_amax, weight_amax


def test_the_largest_magnitude_gets_the_largest_code() -> None:
    scale = scale_from_amax(6.35)
    assert scale.dtype == np.float32 and scale.shape == ()
    codes = codes_from_weights(np.float32([[6.35, -6.35, 0.0]]), scale)
    assert codes.tolist() == [[127, -127, 0]]


def test_weights_saturate_at_127_and_activations_at_minus_128() -> None:
    assert codes_from_weights(np.float32([[-9.0, 9.0]]), np.float32(0.01)).tolist() == [[-127, 127]]
    assert fake_quantize(np.float32([-9.0, 9.0]), np.float32(0.5)).tolist() == [-9.0, 9.0]
    assert fake_quantize(np.float32([-99.0, 99.0]), np.float32(0.5)).tolist() == [-64.0, 63.5]


def test_halves_round_to_even() -> None:
    assert fake_quantize(np.float32([0.5, 1.5, 2.5, -0.5, -1.5]), np.float32(1)).tolist() == [0, 2, 2, 0, -2]


def test_a_vector_has_a_scale_per_channel() -> None:
    weights = np.float32([[1.0, 10.0], [-2.0, 5.0]])
    per_column = weight_amax(weights, per_channel=True)
    assert per_column.tolist() == [2.0, 10.0] and weight_amax(weights, per_channel=False) == 10.0
    assert codes_from_weights(weights, scale_from_amax(per_column)).tolist() == [[64, 127], [-127, 64]]


def test_zeros_have_a_usable_scale() -> None:
    scale = scale_from_amax(np.zeros(3))
    assert (scale > np.finfo(np.float32).tiny).all()
    assert codes_from_weights(np.zeros((2, 3), np.float32), scale).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_quantizing_twice_changes_nothing() -> None:
    values = np.random.default_rng(0).uniform(-3.8, 3.8, 1000).astype(np.float32)
    once = fake_quantize(values, np.float32(0.03))
    np.testing.assert_array_equal(fake_quantize(once, np.float32(0.03)), once)
    assert np.abs(once - values).max() <= 0.015 + 1e-6


@pytest.mark.parametrize("low, high", [(-0.17, 3.0), (0.0, 1.0), (-2.0, 2.0), (-1e-9, 50.0)])
def test_a_grid_holds_its_range_and_zero(low: float, high: float) -> None:
    scale, zero_point = grid_from_range(low, high)
    assert scale.dtype == np.float32 and zero_point.dtype == np.int8
    bottom, top = (np.float64(scale) * (code - int(zero_point)) for code in (-128, 127))
    assert abs(bottom - low) <= scale / 2 + 1e-6 and abs(top - high) <= scale / 2 + 1e-6


def test_a_grid_is_never_coarser_than_the_symmetric_one() -> None:
    scale, zero_point = grid_from_range(-100.0, 2.54)
    assert scale <= scale_from_amax(2.54) and abs(int(zero_point)) <= 1


def test_a_grid_of_nothing_is_usable() -> None:
    scale, _ = grid_from_range(-0.17, 0.0)
    assert scale > np.finfo(np.float32).tiny
