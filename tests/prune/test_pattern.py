"""The pattern: masks of scores, what counts as 2:4, and the masks of a graph that is sparse already."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site
from bertc.prune.pattern import gemms_of_graph, is_sparse, mask_from_scores, masks_from_graph, weight_name
from tests.prune.correlated import random_weight
from tests.tiny import TinyModel


def test_the_two_largest_are_kept_in_any_order() -> None:
    scores = np.array(list(permutations([1.0, 2.0, 3.0, 4.0]))).T
    assert np.array_equal(mask_from_scores(scores), scores > 2)


def test_of_equal_scores_the_first_are_kept_and_always_two() -> None:
    assert mask_from_scores(np.zeros((8, 1))).ravel().tolist() == [True, True, False, False] * 2
    assert mask_from_scores(np.array([[1.0], [2.0], [1.0], [1.0]])).ravel().tolist() == [True, True, False, False]


def test_groups_lie_along_the_inputs() -> None:
    weight = np.zeros((4, 4), np.float32)
    weight[:2] = 1  # rows: inputs
    assert is_sparse(weight) and not is_sparse(weight + weight.T)
    weight[2, 3] = 1
    assert not is_sparse(weight)


def test_a_width_that_is_no_multiple_of_four_is_not_2_4() -> None:
    assert not is_sparse(np.zeros((6, 4), np.float32)) and is_sparse(np.zeros((8, 4), np.float32))


def test_half_zeros_in_the_wrong_places_are_not_2_4() -> None:
    weight = random_weight(16, 8)
    weight[:8] = 0
    assert not is_sparse(weight)


def test_a_dense_graph_has_no_masks(tiny_classifier: TinyModel) -> None:
    assert masks_from_graph(tiny_classifier.graph) == {}
    assert len(gemms_of_graph(tiny_classifier.graph)) == 12


def test_a_sparse_weight_has_its_mask(tiny_classifier: TinyModel) -> None:
    model = tiny_classifier.graph.clone()
    name = weight_name(Site(1, Role.ACTIVATION)).replace("gelu", "output_gemm")
    value = model.graph.initializers[name]
    weight = array_of(value)
    mask = mask_from_scores(np.abs(weight))
    pruned = np.where(mask, weight, 0)
    pruned[0] = 0  # a weight that is zero by chance stays free
    set_constant(value, pruned)
    found = masks_from_graph(model)
    assert list(found) == [name] and found[name].dtype == bool
    assert found[name].shape == weight.shape and (found[name].reshape(-1, 4, weight.shape[1]).sum(axis=1) == 2).all()
    assert not (pruned.astype(bool) & ~found[name]).any()
