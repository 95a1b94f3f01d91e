"""GELU's and softmax's outputs on grids with a zero point: where, how fine, and where they stay symmetric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.smoothing import SHARE_BELOW, raised_factors
from bertc.ir.emit import array_of
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.ir.standard import standard_from_graph
from bertc.quantize.insert import Quantized, quantize_graph
from tests.tiny import LAYERS, TinyModel, quantized, rms, run_values, tiny_scheme

GELUS = [Site(layer, Role.ACTIVATION) for layer in range(LAYERS)]
PROBS = [Site(layer, Role.PROBS) for layer in range(LAYERS)]


def one_sided(mode: str, granularity: str | None = None, **options: object) -> Scheme:
    return replace(tiny_scheme(mode, granularity, **options), one_sided=True)


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
@pytest.mark.parametrize("smoothing", [None, 0.0])
def test_activation_and_softmax_alone_have_a_zero_point(
    mode: str, granularity: str | None, smoothing: float | None, tiny_classifier: TinyModel
) -> None:
    found = quantized(tiny_classifier, one_sided(mode, granularity, smoothing=smoothing))
    assert sorted(found.zero_points) == sorted(GELUS + PROBS)
    for site in found.scales:
        if site.role is not Role.PROBS:
            zero_point = array_of(found.graph.graph.initializers[f"{site.name}.zero_point"])
            assert np.all(zero_point == found.zero_points.get(site, 0)), site
    symmetric = quantized(tiny_classifier, tiny_scheme(mode, granularity, smoothing=smoothing))
    assert not symmetric.zero_points
    for site in GELUS:
        assert found.zero_points[site] < -64
        assert found.scales[site] < 0.75 * symmetric.scales[site]
    for site in PROBS:
        assert found.zero_points[site] == -128
        assert (found.scales[site], symmetric.scales[site]) == (np.float32(1 / 255), np.float32(1 / 127))


def test_the_grid_holds_the_activation_s_lower_bound(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, one_sided("1"))
    for site in GELUS:
        lowest = (-128 - found.zero_points[site]) * found.scales[site] * tiny_classifier.table.smoothing[site].min()
        assert lowest == pytest.approx(-0.1701, abs=float(found.scales[site]))


def test_the_error_of_the_activation_is_much_smaller(tiny_classifier: TinyModel) -> None:
    names = [name for site in GELUS for name in (site.name, f"{site.name}.dequantized")]
    errors = []
    for scheme in (tiny_scheme("1"), one_sided("1")):
        graph = quantize_graph(
            tiny_classifier.graph, tiny_classifier.table, scheme, RangeMethod(calibrator="max")
        ).graph
        batch = tiny_classifier.batch
        # Padding was not calibrated, and clips.
        found = [values[batch.mask.astype(bool)] for values in run_values(graph, batch, names)]
        errors.append([rms(rounded - value) for value, rounded in zip(found[::2], found[1::2], strict=True)])
    for symmetric, shifted in zip(*errors, strict=True):
        assert 0 < shifted < 0.8 * symmetric


def test_a_range_that_was_given_stays_symmetric(tiny_classifier: TinyModel) -> None:
    table = replace(tiny_classifier.table, overrides={GELUS[0]: 2.0})
    found = quantized(replace(tiny_classifier, table=table), one_sided("1"))
    assert sorted(found.zero_points) == sorted([*GELUS[1:], *PROBS])
    assert found.scales[GELUS[0]] == np.float32(2 / 127)


def test_a_softmax_that_was_trained_keeps_its_sign(tiny_classifier: TinyModel) -> None:
    table = replace(tiny_classifier.table, overrides={PROBS[0]: 1.0})
    found = quantized(replace(tiny_classifier, table=table), one_sided("1"))
    assert sorted(found.zero_points) == sorted([*GELUS, PROBS[1]])
    operators = [str(found.graph.graph.node(number).op_type) for number in range(len(found.graph.graph))]
    assert [name for name in operators if name.startswith("Attention")] == ["AttentionProbs", "AttentionProbsUnsigned"]


@pytest.mark.parametrize("mode", ["1", "3"])
def test_the_softmax_s_error_is_half(mode: str, tiny_classifier: TinyModel) -> None:
    batch = tiny_classifier.batch
    names = [name for site in PROBS for name in (site.name, f"{site.name}.dequantized")]
    errors = []
    for unsigned in (False, True):
        scheme = replace(tiny_scheme(mode, "channel"), one_sided=unsigned)
        found = run_values(standard_from_graph(quantized(tiny_classifier, scheme).graph), batch, names)
        errors.append([rms(rounded - value) for value, rounded in zip(found[::2], found[1::2], strict=True)])
    for signed, unsigned_error in zip(*errors, strict=True):
        assert 0.4 * signed < unsigned_error < 0.6 * signed


def test_the_default_range_is_the_maximum_and_a_percentile_is_taken(tiny_classifier: TinyModel) -> None:
    def build(percentile: float | None) -> Quantized:
        return quantize_graph(
            tiny_classifier.graph, tiny_classifier.table, one_sided("1"), RangeMethod(percentile=percentile)
        )

    for site in GELUS:
        largest = tiny_classifier.table.smoothed[site].amax
        top = (127 - build(None).zero_points[site]) * build(None).scales[site]
        assert top == pytest.approx(largest, rel=0.01)
        assert build(90.0).scales[site] < build(None).scales[site]


def test_factors_are_raised_until_the_bound_is_small() -> None:
    amax = np.float32([1] * 9 + [0.02])
    factors = np.float32([1] * 9 + [0.02])
    raised = raised_factors(factors, amax, -0.17)
    assert raised[-1] == np.float32(0.17 / SHARE_BELOW) and (raised[:-1] == 1).all()
    assert (raised_factors(factors, amax, 0.0) == factors).all(), "ReLU has nothing below 0"
    zeros = np.zeros(3, np.float32)
    assert (raised_factors(np.ones(3, np.float32), zeros, -0.17) == 1).all()
