"""Calibration spread over shards of the text: two passes, merged in any order, give one table."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

import numpy as np

from bertc.calibrate.collect import observe_here, plain_from_batches, smoothed_from_batches
from bertc.calibrate.smoothing import smoothing_factors
from bertc.calibrate.table import CalibrationTable, merge_tables, text_from_table
from bertc.core.progress import Silent
from bertc.ir.scheme import DEFAULT_SMOOTHING
from tests.tiny import TinyModel, bound_table


def shard_tables(model: TinyModel, shards: int) -> tuple[list[CalibrationTable], list[CalibrationTable]]:
    """Return each shard's plain table, and its table under the factors of all shards."""
    observe = observe_here(model.graph)
    parts = [model.features[number::shards] for number in range(shards)]
    plain = [
        bound_table(
            plain_from_batches(observe, part, progress=Silent()),
            {"data": f"shard-{number}", "row_hashes": [f"{number}-{row}" for row in range(len(part))]},
        )
        for number, part in enumerate(parts)
    ]
    factors = smoothing_factors(model.graph, reduce(merge_tables, plain).sites, DEFAULT_SMOOTHING)
    whole = [
        smoothed_from_batches(observe, part, table, factors, exponent=DEFAULT_SMOOTHING, progress=Silent())
        for part, table in zip(parts, plain, strict=True)
    ]
    return plain, whole


def test_shards_merge_in_any_order_to_the_same_bits(tiny_classifier: TinyModel) -> None:
    plain, whole = shard_tables(tiny_classifier, 3)
    for tables in (plain, whole):
        texts = {text_from_table(reduce(merge_tables, order)) for order in permutations(tables)}
        assert len(texts) == 1
    assert text_from_table(whole[0]) != text_from_table(reduce(merge_tables, whole))


def test_merged_shards_are_the_table_of_the_whole_text(tiny_classifier: TinyModel) -> None:
    _, whole = shard_tables(tiny_classifier, 2)
    merged = reduce(merge_tables, whole)
    assert merged.origin["rows"] == len(tiny_classifier.features)
    for site, statistics in tiny_classifier.table.smoothed.items():
        assert merged.smoothed[site].counts.sum() == statistics.counts.sum()
        # Another batch, another order of float additions: the same values up to their noise.
        np.testing.assert_allclose(merged.smoothed[site].amax, statistics.amax, rtol=1e-4)
