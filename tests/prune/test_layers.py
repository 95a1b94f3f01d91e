"""Pruning a graph: what becomes of each GEMM, in which order, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.gram import Gram, grams_from_batches
from bertc.calibrate.smoothing import CONSUMERS
from bertc.core.plugins import CRITERIA
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site
from bertc.prune.layers import Pruned, State, first_layers, prune_graph, unpruned_gemms
from bertc.prune.pattern import gemms_of_graph, is_sparse, masks_from_graph, weight_name
from tests.tiny import TinyModel


def pruned(model: TinyModel, graph: ir.Model | None = None, **options: Any) -> Pruned:
    """Prune with the tiny model's text."""

    def grams(source: ir.Model, sites: Sequence[Site]) -> dict[Site, Gram]:
        return grams_from_batches(source, model.features, sites, progress=Silent())

    wanted = {"criterion": "magnitude", "grams": grams, "progress": Silent()} | options
    return prune_graph(graph or model.graph, **wanted)


@pytest.mark.parametrize("permute", [False, True])
@pytest.mark.parametrize("criterion", CRITERIA.names())
def test_every_gemm_is_2_4_and_the_argument_is_not_touched(
    tiny_classifier: TinyModel, criterion: str, permute: bool
) -> None:
    before = {site: weight.copy() for site, weight in gemms_of_graph(tiny_classifier.graph).items()}
    found = pruned(tiny_classifier, criterion=criterion, permute=permute)
    assert len(found.gemms) == 12 and {gemm.state for gemm in found.gemms} == {State.PRUNED}
    assert all(is_sparse(weight) for weight in gemms_of_graph(found.graph).values())
    assert all(0 < (gemm.output_error or 0) < 1 for gemm in found.gemms)
    recognised = masks_from_graph(found.graph)
    assert recognised.keys() == found.masks.keys()
    assert all(np.array_equal(recognised[name], found.masks[name]) for name in recognised)
    after = gemms_of_graph(tiny_classifier.graph)
    assert all(np.array_equal(before[site], after[site]) for site in before)


def test_magnitude_needs_no_text_and_then_knows_no_output_error(tiny_classifier: TinyModel) -> None:
    found = pruned(tiny_classifier, grams=None)
    assert all(gemm.output_error is None and 0.5 < (gemm.kept_energy or 0) < 1 for gemm in found.gemms)


def test_the_others_are_refused_without_text(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match="--calibration-data"):
        pruned(tiny_classifier, criterion="sparsegpt", grams=None)


def test_sites_layers_and_roles_can_be_skipped(tiny_classifier: TinyModel) -> None:
    found = pruned(tiny_classifier, skip=("layer.0.query_gemm", "output_gemm"))
    skipped = [gemm.site.name for gemm in found.gemms if gemm.state is State.SKIPPED]
    assert skipped == ["layer.0.query_gemm", "layer.0.output_gemm", "layer.1.output_gemm"]
    assert len(found.masks) == 9 and "layer.0.query_gemm.weight" not in found.masks
    layer = pruned(tiny_classifier, skip=("layer.1",))
    assert {gemm.site.layer for gemm in layer.gemms if gemm.state is State.SKIPPED} == {1}


@pytest.mark.parametrize("name", ["layer.7", "gelu", "layer.0.hidden", ""])
def test_a_name_that_means_no_gemm_is_refused(tiny_classifier: TinyModel, name: str) -> None:
    with pytest.raises(InputError, match=r"sparsity\.skip"):
        pruned(tiny_classifier, skip=(name,))


def test_an_unknown_criterion_is_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match="magnitude"):
        pruned(tiny_classifier, criterion="random")


def test_what_is_sparse_already_stays_as_it_is(tiny_classifier: TinyModel) -> None:
    first = pruned(tiny_classifier, skip=("layer.1",))
    again = pruned(tiny_classifier, first.graph, criterion="sparsegpt", permute=True)
    states = [gemm.state for gemm in again.gemms]
    assert states == [State.KEPT] * 6 + [State.PRUNED] * 6
    for site, weight in gemms_of_graph(first.graph).items():
        moved = site.role in (Role.VALUE_GEMM, Role.INTERMEDIATE_GEMM)  # columns of a layer whose reader is pruned
        same = np.array_equal(weight, array_of(again.graph.graph.initializers[weight_name(site)]))
        assert same if site.layer == 0 else moved or not same
    assert [gemm.state for gemm in unpruned_gemms(first.graph)] == [State.KEPT] * 6 + [State.SKIPPED] * 6


def test_the_next_layer_sees_the_pruned_one(tiny_classifier: TinyModel) -> None:
    seen: list[ir.Model] = []

    def grams(source: ir.Model, sites: Sequence[Site]) -> dict[Site, Gram]:
        seen.append(source.clone())
        return grams_from_batches(source, tiny_classifier.features, sites, progress=Silent())

    pruned(tiny_classifier, criterion="wanda", grams=grams)
    assert [len(masks_from_graph(graph)) for graph in seen] == [0, 6]


def test_a_graph_cut_behind_a_layer_gives_that_layer_s_moments(tiny_classifier: TinyModel) -> None:
    whole, sites = tiny_classifier.graph, [Site(0, role) for role in CONSUMERS]
    short = first_layers(whole, 0)
    assert len(gemms_of_graph(short)) == 6 and len(gemms_of_graph(whole)) == 12
    found, wanted = (
        grams_from_batches(each, tiny_classifier.features, sites, progress=Silent()) for each in (short, whole)
    )
    assert all(np.array_equal(found[site].matrix, wanted[site].matrix) for site in sites)


def test_a_width_that_is_no_multiple_of_four_is_skipped_with_the_reason(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    for name, keep in (("intermediate_gemm.weight", 1), ("intermediate_gemm.bias", 0), ("output_gemm.weight", 0)):
        value = graph.graph.initializers[f"layer.0.{name}"]
        set_constant(value, np.take(array_of(value), range(30), axis=keep))
    found = pruned(tiny_classifier, graph, grams=None, permute=True)
    narrow = next(gemm for gemm in found.gemms if gemm.site == Site(0, Role.OUTPUT_GEMM))
    assert narrow.state is State.SKIPPED and "30 is no multiple of 4" in narrow.reason
    assert len(found.masks) == 11


def test_values_that_are_not_finite_are_refused(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    value = graph.graph.initializers["layer.1.key_gemm.weight"]
    broken = array_of(value).copy()
    broken[0, 0] = np.nan
    set_constant(value, broken)
    with pytest.raises(InputError, match=r"layer\.1\.key_gemm"):
        pruned(tiny_classifier, graph, grams=None)

    def grams(source: ir.Model, sites: Sequence[Site]) -> dict[Site, Gram]:
        return {site: Gram(1, np.full((1, 1), np.nan), np.zeros(1)) for site in sites}

    with pytest.raises(InputError, match=r"second moments of layer\.0\.hidden"):
        pruned(tiny_classifier, criterion="wanda", grams=grams)
