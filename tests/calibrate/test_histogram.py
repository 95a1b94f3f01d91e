"""Histograms merge in any order to the same bits, keep their size, and read back from text."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from bertc.calibrate.histogram import BINS, bin_values, counts_from_text, counts_from_values, text_from_counts
from bertc.errors import InputError


def values(seed: int, size: int = 5000) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(size) * 10.0 ** generator.integers(-6, 4, size)).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_any_split_merged_in_any_order_gives_the_same_bits(seed: int) -> None:
    generator = np.random.default_rng(seed)
    everything = values(seed)
    cuts = np.sort(generator.integers(0, everything.size, generator.integers(1, 9)))
    parts = [counts_from_values(part) for part in np.split(everything, cuts)]
    whole = counts_from_values(generator.permutation(everything))
    for _ in range(3):
        total = np.zeros(BINS, np.int64)
        for place in generator.permutation(len(parts)):
            total = total + parts[place]
        np.testing.assert_array_equal(total, whole)
    assert not np.array_equal(whole - parts[0], whole)


def test_the_size_does_not_depend_on_the_number_or_size_of_values() -> None:
    for size in (0, 1, 100_000):
        counts = counts_from_values(values(0, size))
        assert counts.shape == (BINS,) and counts.dtype == np.int64 and counts.sum() == size


def test_bins_are_narrow_and_hold_their_values() -> None:
    middle = bin_values()
    assert middle.shape == (BINS,) and middle[0] == 0 and np.isinf(middle[-1])
    finite = middle[np.isfinite(middle)]
    assert (np.diff(finite) > 0).all()
    sample = np.abs(values(1))
    found = middle[[int(np.flatnonzero(counts_from_values(value[None]))[0]) for value in sample[:500]]]
    np.testing.assert_allclose(found, sample[:500], rtol=0.0041)


def test_signs_do_not_matter_and_zero_has_its_own_bin() -> None:
    sample = values(2)
    np.testing.assert_array_equal(counts_from_values(sample), counts_from_values(-sample))
    assert counts_from_values(np.float32([0.0, -0.0, 1.0]))[0] == 2


def test_arrays_that_are_not_contiguous_are_counted_as_they_are() -> None:
    sample = values(3).reshape(50, 100)
    np.testing.assert_array_equal(counts_from_values(sample.T[::2]), counts_from_values(sample.T[::2].copy()))
    assert not np.array_equal(counts_from_values(sample.T[::2]), counts_from_values(sample.T[1::2]))


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_text_round_trip(size: int) -> None:
    counts = counts_from_values(values(4, size))
    np.testing.assert_array_equal(counts_from_text(text_from_counts(counts)), counts)


def test_a_histogram_with_every_bin_reads_back() -> None:
    counts = np.arange(BINS, dtype=np.int64) + 1
    np.testing.assert_array_equal(counts_from_text(text_from_counts(counts)), counts)


def packed(numbers: list[int]) -> str:
    return base64.b64encode(zlib.compress(np.array(numbers, "<i8").tobytes())).decode()


GOOD = text_from_counts(counts_from_values(values(5)))
DAMAGED = {
    "nothing": "",
    "no base64": "***",
    "no compression": base64.b64encode(b"12345678").decode(),
    "cut in the middle": base64.b64encode(base64.b64decode(GOOD)[:-20]).decode(),
    "one byte changed": base64.b64encode(base64.b64decode(GOOD)[:-6] + b"\0\1" + base64.b64decode(GOOD)[-4:]).decode(),
    "a part of a number": base64.b64encode(zlib.compress(b"123")).decode(),
    "no number": packed([]),
    "negative counts": packed([5, 1, -2]),
    "a start before the first bin": packed([-4, 1, 1]),
    "a start behind the last bin": packed([BINS, 1]),
    "too many bins": packed([0] * (BINS + 2)),
    "a bomb": base64.b64encode(zlib.compress(bytes(10_000_000))).decode(),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="calibrate again"):
        counts_from_text(text)
