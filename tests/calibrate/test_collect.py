"""What calibration observes: real tokens only, in bounded memory, the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate import collect
from bertc.calibrate.histogram import BINS
from bertc.calibrate.smoothing import CONSUMERS, raised_factors, smoothing_vector
from bertc.calibrate.table import CalibrationTable, text_from_table
from bertc.core.feature import Feature
from bertc.errors import InputError
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.one_sided import LOWEST
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.ir.sites import GEMM_INPUTS, Role, Site
from tests.tiny import LAYERS, Array, TinyModel, calibrated, random_features

HEADS = 2


def lonely(model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> CalibrationTable:
    """Calibrate with each text in a batch of its own: no padding at all."""
    with monkeypatch.context() as patch:
        patch.setattr(collect, "TOKENS_PER_BATCH", 1)
        return calibrated(model.graph, model.features)


def crowded(model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> CalibrationTable:
    """Calibrate with all texts padded to the longest."""
    with monkeypatch.context() as patch:
        patch.setattr(collect, "TOKENS_PER_BATCH", 1_000_000)
        return calibrated(model.graph, model.features)


def largest_amax_difference(first: CalibrationTable, second: CalibrationTable) -> float:
    assert first.sites.keys() == second.sites.keys()
    return max(abs(found.amax / second.sites[site].amax - 1) for site, found in first.sites.items())


def test_padding_leaves_no_trace_in_any_site(tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = lonely(tiny_classifier, monkeypatch), crowded(tiny_classifier, monkeypatch)
    assert largest_amax_difference(alone, together) < 1e-5
    for mine, other in ((alone.sites, together.sites), (alone.smoothed, together.smoothed)):
        for site, found in mine.items():
            assert found.counts.sum() == other[site].counts.sum()
            moved = np.abs(found.counts - other[site].counts).sum() / found.counts.sum()
            assert moved < 0.01, site  # values on the edge of a bin


def test_a_forgotten_mask_would_be_seen(tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(values: Array, mask: Array) -> Iterator[Array]:
        yield values

    alone = lonely(tiny_classifier, monkeypatch)
    monkeypatch.setattr(collect, "_unpadded", everything)
    together = crowded(tiny_classifier, monkeypatch)
    assert largest_amax_difference(alone, together) > 1e-3
    for site, found in alone.sites.items():
        assert together.sites[site].counts.sum() > found.counts.sum()


def test_each_site_counts_exactly_the_values_of_real_tokens(tiny_classifier: TinyModel) -> None:
    lengths = np.array([feature.length for feature in tiny_classifier.features])
    expected = {Role.HIDDEN: 64 * lengths.sum(), Role.ACTIVATION: 128 * lengths.sum()}
    expected |= {role: HEADS * (lengths**2).sum() for role in (Role.SCORES, Role.PROBS)}
    for role, number in expected.items():
        assert tiny_classifier.table.sites[Site(1, role)].counts.sum() == number


def test_every_site_is_observed_and_memory_does_not_grow(tiny_classifier: TinyModel) -> None:
    many = calibrated(tiny_classifier.graph, random_features(400, seed=3, longest=12))
    for table in (tiny_classifier.table, many):
        assert set(table.sites) == {Site(layer, role) for layer in range(LAYERS) for role in Role}
        for site, found in table.sites.items():
            assert found.counts.nbytes == 8 * BINS
            assert (found.channel_amax is None) is (site.role in (Role.SCORES, Role.PROBS))
        for site, found in table.smoothed.items():
            assert found.counts.nbytes == 8 * BINS
            assert (found.channel_amax is None) is (site.role is not Role.VALUE_GEMM)


def test_statistics_are_those_of_the_values(tiny_classifier: TinyModel) -> None:
    batch = tiny_classifier.batch
    interpreter = Interpreter(tiny_classifier.graph, observe_sites=True)
    for site, values in interpreter.run_sites(batch, [Site(0, Role.HIDDEN), Site(1, Role.OUTPUT_GEMM)]):
        tokens = np.abs(values[batch.mask.astype(bool)])
        found = tiny_classifier.table.sites[site]
        assert found.amax == pytest.approx(tokens.max(), rel=1e-5)
        np.testing.assert_allclose(found.channel_amax, tokens.max(axis=0), rtol=1e-5)


def test_smoothed_statistics_are_those_of_the_divided_values(tiny_classifier: TinyModel) -> None:
    table, batch = tiny_classifier.table, tiny_classifier.batch
    interpreter = Interpreter(tiny_classifier.graph, observe_sites=True)
    for role in (*GEMM_INPUTS, Role.VALUE, Role.VALUE_GEMM):
        site = Site(1, role)
        carrier = Site(1, Role.CONTEXT) if role in (Role.VALUE, Role.VALUE_GEMM) else site
        ((_, values),) = interpreter.run_sites(batch, [site])
        divided = np.abs(values[batch.mask.astype(bool)] / table.smoothing[carrier])
        assert table.smoothed[site].amax == pytest.approx(divided.max(), rel=1e-5)
    assert Site(1, Role.QUERY) not in table.smoothed


def test_calibrating_twice_gives_the_same_bits_and_other_text_does_not(tiny_classifier: TinyModel) -> None:
    features = random_features(10, seed=4)
    once, again = (text_from_table(calibrated(tiny_classifier.graph, features)) for _ in range(2))
    assert once == again
    assert once != text_from_table(calibrated(tiny_classifier.graph, random_features(10, seed=5)))


def test_the_order_of_the_text_changes_ranges_by_float_noise_only(tiny_classifier: TinyModel) -> None:
    turned = calibrated(tiny_classifier.graph, tiny_classifier.features[::-1])
    assert largest_amax_difference(tiny_classifier.table, turned) < 1e-5


def test_the_origin_counts_rows_not_windows(tiny_classifier: TinyModel) -> None:
    first, second, third = random_features(3)
    windows = [
        first,
        Feature(input_ids=second.input_ids, token_type_ids=second.token_type_ids, row=first.row),
        third,
    ]
    assert calibrated(tiny_classifier.graph, windows).origin == {"data": "random", "rows": 2}


def test_no_text_is_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match="no calibration text"):
        calibrated(tiny_classifier.graph, [])


def test_values_that_overflow_are_refused_by_the_site_s_name(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    weight: ir.Value = graph.graph.initializers["layer.1.intermediate_gemm.weight"]
    set_constant(weight, array_of(weight) * np.float32(1e38))
    with pytest.raises(InputError, match=r"layer\.1\.intermediate_gemm is not finite"):
        calibrated(graph, random_features(4))


def test_factors_follow_the_formula_and_dead_channels_have_one() -> None:
    amax, weights = np.float32([4.0, 0.0, 2.0, 0.0]), np.float32([1.0, 3.0, 0.0, 0.0])
    assert smoothing_vector(amax, weights, 0.5).tolist() == [2, 1, 1, 1]
    found = smoothing_vector(np.float32([7.0]), np.float32([0.3]), 0.85)
    assert found[0] == pytest.approx(7**0.85 / 0.3**0.15)


def test_factors_are_computed_in_order_over_the_folded_value_weights(tiny_classifier: TinyModel) -> None:
    table = tiny_classifier.table

    def weight(role: Role) -> Array:
        found: Array = array_of(tiny_classifier.graph.graph.initializers[f"{Site(0, role).name}.weight"])
        return found

    def wmax(role: Role, *, folded: bool) -> Array:
        matrices = [weight(gemm) for gemm in CONSUMERS[role]]
        if folded:
            matrices[-1] = matrices[-1] / table.smoothing[Site(0, Role.CONTEXT)]
        return np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0)

    def expected(role: Role, *, folded: bool = False) -> Array:
        amax = table.sites[Site(0, role)].channel_amax
        assert amax is not None
        vector = smoothing_vector(amax, wmax(role, folded=folded), DEFAULT_SMOOTHING)
        return raised_factors(vector, amax, LOWEST["Gelu"]) if role is Role.ACTIVATION else vector

    for role in (Role.ATTENTION_NORM, Role.ACTIVATION):
        np.testing.assert_allclose(table.smoothing[Site(0, role)], expected(role), rtol=1e-6)
    hidden = table.smoothing[Site(0, Role.HIDDEN)]
    np.testing.assert_allclose(hidden, expected(Role.HIDDEN, folded=True), rtol=1e-6)
    assert np.abs(hidden / expected(Role.HIDDEN) - 1).max() > 1e-3
    ratio = table.smoothing[Site(0, Role.CONTEXT)] / expected(Role.CONTEXT)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)  # one free factor


def test_the_free_factor_gives_value_the_range_of_query_and_key(tiny_classifier: TinyModel) -> None:
    table = tiny_classifier.table
    for layer in range(LAYERS):
        reached = table.smoothed[Site(layer, Role.VALUE)].amax
        largest = max(table.sites[Site(layer, role)].amax for role in (Role.QUERY, Role.KEY))
        assert reached == pytest.approx(largest, rel=1e-4)
        assert table.sites[Site(layer, Role.VALUE)].amax != pytest.approx(largest, rel=1e-2)


def test_a_dead_channel_of_the_model_has_the_factor_one(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    for part in ("gamma", "beta"):
        value = graph.graph.initializers[f"layer.0.attention_norm.{part}"]
        array = array_of(value).copy()
        array[5] = 0
        set_constant(value, array)
    rows = graph.graph.initializers["layer.0.output_gemm.weight"]
    array = array_of(rows).copy()
    array[9] = 0
    set_constant(rows, array)
    table = calibrated(graph, random_features(8))
    assert table.smoothing[Site(0, Role.ATTENTION_NORM)][5] == 1
    assert table.smoothing[Site(0, Role.ACTIVATION)][9] == 1
    assert tiny_classifier.table.smoothing[Site(0, Role.ACTIVATION)][9] != 1


def test_what_nothing_sees_is_observed_as_a_query_and_not_as_a_key(
    tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, padded, and beside the same text without those tokens: counts are of tokens, and of tokens times seen."""
    features = tuple(replace(feature, seen=max(1, feature.length - 3)) for feature in tiny_classifier.features[:7])
    model = replace(tiny_classifier, features=features)
    alone, together = lonely(model, monkeypatch), crowded(model, monkeypatch)
    tokens = sum(feature.length for feature in features)
    pairs = sum(feature.length * int(feature.seen or 0) for feature in features)
    for table in (alone, together):
        assert table.sites[Site(0, Role.ACTIVATION)].counts.sum() == tokens * 128
        assert table.sites[Site(1, Role.PROBS)].counts.sum() == pairs * HEADS
    seen = calibrated(tiny_classifier.graph, tiny_classifier.features[:7])
    assert seen.sites[Site(1, Role.PROBS)].counts.sum() > pairs * HEADS
