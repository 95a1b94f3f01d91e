"""Outlier channels in parts: the same function, smaller weights, and weights that are someone else's left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.gram import Gram
from bertc.calibrate.method import RangeMethod
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.quantize.insert import quantize_graph
from bertc.quantize.split import SHARE, split_from_sizes, split_graph, split_table, splits_from_table
from tests.tiny import LAYERS, TinyModel, calibrated, quantized, tiny_scheme

GELUS = [Site(layer, Role.ACTIVATION) for layer in range(LAYERS)]
OUTLIER = 5


def splitting(mode: str, granularity: str | None = None, **options: object) -> Scheme:
    return replace(tiny_scheme(mode, granularity, **options), one_sided=True, split_outliers=True)


@pytest.fixture(scope="module")
def with_outliers(tiny_classifier: TinyModel) -> TinyModel:
    """The classifier with one channel of each activation whose row of weights is a hundred times the others'."""
    graph = tiny_classifier.graph.clone()
    for site in GELUS:
        weight = graph.graph.initializers[f"layer.{site.layer}.output_gemm.weight"]
        array = array_of(weight).copy()
        array[OUTLIER] *= 100
        set_constant(weight, array)
    return replace(tiny_classifier, graph=graph, table=calibrated(graph, tiny_classifier.features))


def weights(graph: ir.Model, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = graph.graph.initializers
    names = ("intermediate_gemm.weight", "intermediate_gemm.bias", "output_gemm.weight")
    wide, bias, narrow = (array_of(values[f"layer.{layer}.{name}"]) for name in names)
    return wide, bias, narrow


def test_the_largest_part_is_divided_again_and_again() -> None:
    sizes = np.ones(4 * SHARE)
    sizes[7], sizes[2] = 100, 45
    split = split_from_sizes(sizes)
    assert split.parts[7] == 4 and split.parts[2] == 2 and split.parts.sum() == split.source.size
    assert split.source[: sizes.size].tolist() == list(range(sizes.size)) and split.source[sizes.size :].tolist() == [
        2,
        7,
        7,
        7,
    ]
    assert np.bincount(split.source).tolist() == split.parts.tolist()


def test_few_channels_get_one_more() -> None:
    assert split_from_sizes(np.arange(1.0, 9)).source.tolist() == [*range(8), 7]


def test_the_split_graph_computes_the_same(with_outliers: TinyModel) -> None:
    splits = splits_from_table(with_outliers.graph, with_outliers.table, splitting("1"))
    assert list(splits) == GELUS
    graph = split_graph(with_outliers.graph, splits)
    for layer, site in enumerate(GELUS):
        wide, bias, narrow = weights(graph, layer)
        before = weights(with_outliers.graph, layer)
        assert wide.shape[1] == bias.size == narrow.shape[0] == before[1].size + 1
        assert splits[site].source[-1] == OUTLIER
        np.testing.assert_array_equal(narrow[OUTLIER], before[2][OUTLIER] / 2)
    (expected,) = Interpreter(with_outliers.graph).run(with_outliers.batch).values()
    (found,) = Interpreter(graph).run(with_outliers.batch).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    whole = {site: replace(split, parts=np.ones_like(split.parts)) for site, split in splits.items()}
    (wrong,) = Interpreter(split_graph(with_outliers.graph, whole)).run(with_outliers.batch).values()
    assert np.abs(wrong - expected).max() > 1e-3


def test_the_table_is_that_of_the_split_graph(with_outliers: TinyModel) -> None:
    splits = splits_from_table(with_outliers.graph, with_outliers.table, splitting("1"))
    graph = split_graph(with_outliers.graph, splits)
    expected = calibrated(graph, with_outliers.features)
    found = split_table(with_outliers.table, splits)
    for site in expected.sites:
        channels, ours = expected.sites[site].channel_amax, found.sites[site].channel_amax
        if channels is not None:
            assert ours is not None and ours.shape == channels.shape
            np.testing.assert_allclose(ours, channels, rtol=1e-3, atol=1e-4)
    for site, factors in expected.smoothing.items():
        assert found.smoothing[site].shape == factors.shape


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_less_is_lost(mode: str, granularity: str | None, with_outliers: TinyModel) -> None:
    (expected,) = Interpreter(with_outliers.graph).run(with_outliers.batch).values()
    rest = tuple(role for role in Role if role is not Role.ACTIVATION)  # their errors are no smaller and would hide it
    scheme = splitting(mode, granularity, keep_float=rest)
    errors = []
    for each, added in ((scheme, LAYERS), (replace(scheme, split_outliers=False), 0)):
        built = quantized(with_outliers, each)
        assert built.added_channels == added
        (found,) = Interpreter(built.graph).run(with_outliers.batch).values()
        errors.append(float(np.mean((found - expected) ** 2)))
    assert 0 < errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("scheme", [replace(splitting("1"), split_outliers=False), splitting("1", smoothing=0)])
def test_schemes_that_split_nothing(scheme: Scheme, with_outliers: TinyModel) -> None:
    assert not splits_from_table(with_outliers.graph, with_outliers.table, scheme)
    found = quantized(with_outliers, scheme)
    codes = weights(found.graph, 0)[2]
    assert found.added_channels == 0 and codes.shape == weights(with_outliers.graph, 0)[2].shape


def test_a_range_that_was_given_keeps_its_weights(with_outliers: TinyModel) -> None:
    table = replace(with_outliers.table, overrides={GELUS[0]: 2.0})
    assert list(splits_from_table(with_outliers.graph, table, splitting("1"))) == GELUS[1:]


def test_pruned_weights_keep_their_groups(with_outliers: TinyModel) -> None:
    graph = with_outliers.graph.clone()
    weight = graph.graph.initializers["layer.1.output_gemm.weight"]
    array = array_of(weight).copy()
    array[::2] = 0
    set_constant(weight, array)
    assert list(splits_from_table(graph, with_outliers.table, splitting("1"))) == GELUS[:1]


def test_the_graph_and_table_that_were_given_stay_whole(with_outliers: TinyModel) -> None:
    quantize_graph(with_outliers.graph, with_outliers.table, splitting("1"), RangeMethod(calibrator="max"))
    narrow = weights(with_outliers.graph, 0)[2]
    assert narrow.dtype == np.float32 and with_outliers.table.smoothing[GELUS[0]].size == narrow.shape[0]


def test_moments_of_repeated_channels() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3))
    source = np.array([0, 1, 2, 1])
    gram = Gram(20, values.T @ values, values.sum(axis=0), values.astype(np.float32)).selected(source)
    wide = values[:, source]
    np.testing.assert_allclose(gram.matrix, wide.T @ wide)
    np.testing.assert_allclose(gram.mean, wide.mean(axis=0))
    assert gram.sample.shape == (20, 4)
