"""Panels: where each weight lies, whatever the sizes; what fills up is 0."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.runtime.plan.packing import (
    are_sparse,
    bf16_bits,
    bf16_panels,
    compensation,
    float_panels,
    float_vector,
    int8_panels,
    sparse_panels,
)
from tests.native_weights import bf16_floats, dense_from_sparse, floats_from_bf16

SIZES = [(1, 1), (3, 65), (4, 64), (5, 2), (64, 128), (65, 63), (127, 129), (200, 70)]


@pytest.mark.parametrize("k, n", SIZES)
def test_int8_weights_lie_where_the_header_says(k: int, n: int) -> None:
    weights = np.random.default_rng(k).integers(-127, 128, (k, n)).astype(np.int8)
    panels = int8_panels(weights)
    assert panels.shape == (-(-n // 64), -(-k // 64) * 16, 64, 4) and panels.flags.c_contiguous
    rows, columns = np.arange(k)[:, None], np.arange(n)[None]
    np.testing.assert_array_equal(panels[columns // 64, rows // 4, columns % 64, rows % 4], weights)
    assert np.abs(panels.astype(np.int64)).sum() == np.abs(weights.astype(np.int64)).sum()


@pytest.mark.parametrize("k, n", SIZES)
def test_sparse_weights_come_back(k: int, n: int) -> None:
    generator = np.random.default_rng(k + n)
    weights = generator.integers(-128, 128, (-(-k // 4), 4, n)).astype(np.int8)
    weights[np.argsort(generator.random(weights.shape), axis=1) < generator.integers(2, 5, (len(weights), 1, n))] = 0
    panels = int8_panels(weights.reshape(-1, n)[:k])
    assert are_sparse(panels)
    packed = sparse_panels(panels)
    assert packed.shape == (-(-n // 64), -(-k // 64) * 40, 64) and packed.flags.c_contiguous
    assert packed.dtype == np.int8 and packed.nbytes * 8 == panels.nbytes * 5
    np.testing.assert_array_equal(dense_from_sparse(packed), panels)


@pytest.mark.parametrize("row", range(3))
def test_one_group_of_three_is_not_sparse(row: int) -> None:
    weights = np.zeros((12, 70), np.int8)
    weights[4 * row : 4 * row + 2, 69] = 1
    assert are_sparse(int8_panels(weights))
    weights[4 * row + 3, 69] = -1
    assert not are_sparse(int8_panels(weights))


@pytest.mark.parametrize("k, n", SIZES)
def test_float_weights_lie_where_the_header_says(k: int, n: int) -> None:
    weights = np.random.default_rng(k * n).normal(size=(k, n)).astype(np.float32)
    panels = float_panels(weights)
    assert panels.shape == (-(-n // 64), k, 64) and panels.flags.c_contiguous
    rows, columns = np.arange(k)[:, None], np.arange(n)[None]
    np.testing.assert_array_equal(panels[columns // 64, rows, columns % 64], weights)
    assert np.count_nonzero(panels) == np.count_nonzero(weights)


@pytest.mark.parametrize("k, n", SIZES)
def test_bf16_weights_lie_where_the_header_says(k: int, n: int) -> None:
    weights = np.random.default_rng(k * n).normal(size=(k, n)).astype(np.float32)
    panels = bf16_panels(float_panels(weights))
    assert panels.shape == (-(-n // 64), -(-k // 32) * 16, 64, 2) and panels.flags.c_contiguous
    rows, columns = np.arange(k)[:, None], np.arange(n)[None]
    np.testing.assert_array_equal(panels[columns // 64, rows // 2, columns % 64, rows % 2], bf16_bits(weights))
    assert np.count_nonzero(panels) == weights.size
    np.testing.assert_array_equal(floats_from_bf16(panels, k)[:, :n], bf16_floats(weights))


def test_bf16_rounds_to_even_and_keeps_what_is_no_number() -> None:
    ties = np.float32([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 1 + 2**-8 + 2**-20])
    limits = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 2.0**-126, 1.1e-38, -1e-40])
    values = np.concatenate([ties, limits])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = bf16_floats(values)
    found = (bf16_bits(values).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, expected)
    assert found[:4].tolist() == [1, 1.015625, -1, 1.0078125]
    assert found[9] == np.inf and found[11] == found[12] == 0 and np.signbit(found[[5, 12]]).all()
    signalling = np.array([0x7F800001, 0xFF80FFFF], np.uint32).view(np.float32)
    assert bf16_bits(signalling).tolist() == [0x7FC0, 0xFFC0]


def test_vectors_are_padded_with_zeros() -> None:
    assert float_vector(2.5, 3).tolist() == [2.5] * 3 + [0.0] * 61
    assert float_vector([1, 2], 2)[:3].tolist() == [1.0, 2.0, 0.0]
    with pytest.raises(ValueError, match="broadcast"):
        float_vector([1, 2], 3)


@pytest.mark.parametrize("zero", [0, 42, 128, 255])
@pytest.mark.parametrize("k, n", SIZES)
def test_compensation_takes_the_zero_point_out(k: int, n: int, zero: int) -> None:
    generator = np.random.default_rng(k + n)
    weights = generator.integers(-127, 128, (k, n)).astype(np.int8)
    codes = generator.integers(0, 256, (3, k))
    found = codes @ weights.astype(np.int64) + compensation(weights, zero)[:n]
    np.testing.assert_array_equal(found, (codes - zero) @ weights.astype(np.int64))
    assert not compensation(weights, zero)[n:].any()
