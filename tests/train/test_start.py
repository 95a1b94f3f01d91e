"""Where training starts: LSQ's range where the calibrated one is larger, and nothing that was fixed or trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.affine import CODE_MAX
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.ir.sites import Role, Site
from bertc.quantize.insert import quantize_graph
from bertc.train.start import largest_of_start, table_of_start, weights_of_start
from tests.tiny import TinyModel, tiny_scheme

SITE = Site(0, Role.OUTPUT_GEMM)


def test_the_range_is_the_papers() -> None:
    """The scale is 2 <|v|> / sqrt(Q_P) with Q_P = 127."""
    assert largest_of_start(0.5) / CODE_MAX == pytest.approx(2 * 0.5 / np.sqrt(127))


def test_one_outlier_is_clipped_and_nothing_else() -> None:
    weights = np.random.default_rng(0).normal(0, 0.04, (384, 96)).astype(np.float32)
    assert np.array_equal(weights_of_start(weights), weights), "a normal distribution has no outlier"
    weights[3, 7] = -7.0
    clipped = weights_of_start(weights)
    assert -1 < clipped[3, 7] < -0.5
    assert clipped.dtype == np.float32
    others = np.arange(weights.size).reshape(weights.shape) != 3 * 96 + 7
    assert np.array_equal(clipped[others], weights[others])
    assert not weights_of_start(np.zeros((4, 4), np.float32)).any()


@pytest.mark.parametrize("smoothing", [None, DEFAULT_SMOOTHING])
def test_ranges_only_shrink_and_what_is_fixed_or_known_stays(
    tiny_classifier: TinyModel, smoothing: float | None
) -> None:
    scheme = tiny_scheme("2", smoothing=smoothing)
    graph = graph_from_checkpoint(tiny_classifier.checkpoint)
    scales = quantize_graph(graph, tiny_classifier.table, scheme, RangeMethod(calibrator="max")).scales
    start = table_of_start(tiny_classifier.table, scheme, scales)
    assert start.overrides.keys() == {site for site in scales if site.role is not Role.PROBS}
    for site, amax in start.overrides.items():
        expected = largest_of_start(tiny_classifier.table.statistics(site, smoothed=smoothing is not None).mean)
        assert amax == pytest.approx(min(float(scales[site]) * CODE_MAX, expected))
    assert not tiny_classifier.table.overrides, "the given table is not touched"


def test_a_range_by_hand_is_kept(tiny_classifier: TinyModel) -> None:
    fixed = replace(tiny_classifier.table, overrides={SITE: 99.0})
    scheme = tiny_scheme("2")
    graph = graph_from_checkpoint(tiny_classifier.checkpoint)
    scales = quantize_graph(graph, fixed, scheme, RangeMethod(calibrator="max")).scales
    assert table_of_start(fixed, scheme, scales).overrides[SITE] == 99.0
