"""What every criterion of sparsity obeys, whatever its method."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from bertc.calibrate.gram import Gram
from bertc.core.plugins import CRITERIA
from bertc.errors import InputError
from bertc.prune.criteria import criterion_from_name
from bertc.prune.criteria.magnitude import prune_weight as prune_by_magnitude
from bertc.prune.pattern import is_sparse
from tests.prune.correlated import correlated_gram, gram_of, output_error, random_weight

NAMES = CRITERIA.names()


def test_the_usual_three_are_there() -> None:
    assert {"magnitude", "wanda", "sparsegpt"} <= set(NAMES)


@pytest.mark.parametrize("name", ["", "Magnitude", "random", "../criteria", "__init__"])
def test_an_unknown_criterion_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(InputError, match=", ".join(NAMES)):
        criterion_from_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_has_the_names_of_the_protocol(name: str) -> None:
    method = criterion_from_name(name)
    assert inspect.getdoc(method) and type(method.NEEDS_TEXT) is bool
    for function in (method.scores_from_weight, method.prune_weight):
        assert list(inspect.signature(function).parameters) == ["weight", "gram"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [4, 32, 260])
def test_the_result_is_2_4_of_the_same_shape_and_leaves_its_argument(name: str, width: int) -> None:
    weight, gram = random_weight(width, 24), correlated_gram(width)
    before = weight.copy()
    pruned = criterion_from_name(name).prune_weight(weight, gram)
    assert pruned.shape == weight.shape and pruned.dtype == np.float32
    assert is_sparse(pruned) and not is_sparse(weight)
    assert np.count_nonzero(pruned) == pruned.size // 2
    assert np.array_equal(weight, before)


@pytest.mark.parametrize("name", NAMES)
def test_twice_gives_the_same(name: str) -> None:
    weight, gram = random_weight(64, 16), correlated_gram(64)
    method = criterion_from_name(name)
    assert np.array_equal(method.prune_weight(weight, gram), method.prune_weight(weight, gram))


@pytest.mark.parametrize("name", NAMES)
def test_on_correlated_inputs_the_output_suffers_no_more_than_by_magnitude(name: str) -> None:
    weight, gram = random_weight(64, 48), correlated_gram(64)
    found = output_error(weight, criterion_from_name(name).prune_weight(weight, gram), gram)
    assert found <= output_error(weight, prune_by_magnitude(weight, None), gram)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_and_never_negative(name: str) -> None:
    scores = criterion_from_name(name).scores_from_weight(random_weight(32, 8), correlated_gram(32))
    assert scores.shape == (32, 8) and np.isfinite(scores).all() and (scores >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_are_always_zero_do_no_harm(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((200, 16))
    x[:, [1, 2, 3, 8]] = 0
    for moments in (gram_of(x), gram_of(np.zeros_like(x))):
        weight = random_weight(16, 8)
        pruned = criterion_from_name(name).prune_weight(weight, moments)
        assert is_sparse(pruned) and np.isfinite(pruned).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_zeros_stays_one(name: str) -> None:
    pruned = criterion_from_name(name).prune_weight(np.zeros((16, 4), np.float32), correlated_gram(16))
    assert not pruned.any()


@pytest.mark.parametrize("name", NAMES)
def test_fewer_tokens_than_inputs_are_no_obstacle(name: str) -> None:
    gram = gram_of(np.random.default_rng(1).standard_normal((3, 32)))
    pruned = criterion_from_name(name).prune_weight(random_weight(32, 8), gram)
    assert is_sparse(pruned) and np.isfinite(pruned).all()


@pytest.mark.parametrize("name", [name for name in NAMES if criterion_from_name(name).NEEDS_TEXT])
def test_the_scale_of_the_inputs_does_not_matter(name: str) -> None:
    weight, gram = random_weight(32, 8), correlated_gram(32)
    method = criterion_from_name(name)
    larger = Gram(gram.rows, gram.matrix * 4.0, gram.total * 2.0)
    np.testing.assert_allclose(method.prune_weight(weight, gram), method.prune_weight(weight, larger), atol=1e-6)
