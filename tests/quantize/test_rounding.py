"""GPTQ: the output's error falls, zeros stay, and what the text never used is rounded to nearest."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.ir.affine import codes_from_weights, scale_from_amax, weight_amax
from bertc.quantize.rounding import codes_from_moments


def correlated(tokens: int = 600, channels: int = 160, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(tokens, 24)) @ generator.normal(size=(24, channels)) + 0.05 * generator.normal(
        size=(tokens, channels)
    )


def weights_and_scale(channels: int = 160) -> tuple[np.ndarray, np.ndarray]:
    weights = np.random.default_rng(3).normal(size=(channels, 12)).astype(np.float32)
    return weights, scale_from_amax(weight_amax(weights, per_channel=True))


def error(x: np.ndarray, weights: np.ndarray, codes: np.ndarray, scale: np.ndarray) -> float:
    return float(np.mean((x @ (codes * scale - weights)) ** 2))


def test_the_error_at_the_output_is_less_than_half_of_nearest_rounding() -> None:
    x, (weights, scale) = correlated(), weights_and_scale()
    codes = codes_from_moments(weights, scale, x.T @ x)
    assert error(x, weights, codes, scale) < 0.5 * error(x, weights, codes_from_weights(weights, scale), scale)
    assert codes.dtype == np.int8 and codes.min() >= -127


def test_uncorrelated_inputs_gain_nothing() -> None:
    weights, scale = weights_and_scale()
    assert np.array_equal(codes_from_moments(weights, scale, np.eye(160)), codes_from_weights(weights, scale))


def test_zeros_stay_zero() -> None:
    x, (weights, scale) = correlated(), weights_and_scale()
    weights[::2] = 0
    codes = codes_from_moments(weights, scale, x.T @ x)
    assert not codes[::2].any() and codes[1::2].any()


def test_one_scale_for_all_columns_and_channels_without_text() -> None:
    x, (weights, _) = correlated(), weights_and_scale()
    x[:, 5] = 0
    scale = scale_from_amax(weight_amax(weights, per_channel=False))
    codes = codes_from_moments(weights, scale, x.T @ x)
    assert np.array_equal(codes[5], codes_from_weights(weights, scale)[5])
    silent = codes_from_moments(weights, scale, np.zeros((160, 160)))
    assert np.array_equal(silent, codes_from_weights(weights, scale))


@pytest.mark.parametrize("channels", [1, 127, 128, 129, 300])
def test_any_width(channels: int) -> None:
    x, (weights, scale) = correlated(channels=channels), weights_and_scale(channels)
    codes = codes_from_moments(weights, scale, x.T @ x)
    assert error(x, weights, codes, scale) <= 1.01 * error(x, weights, codes_from_weights(weights, scale), scale)
