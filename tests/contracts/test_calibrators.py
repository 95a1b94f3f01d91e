"""What every calibrator obeys, whatever its method."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import pytest

import bertc.calibrate.calibrators as package
from bertc.calibrate.calibrators import calibrator_from_name
from bertc.calibrate.histogram import BINS, counts_from_values
from bertc.core.plugins import CALIBRATORS
from bertc.errors import InputError

NAMES = CALIBRATORS.names()
SAMPLES = {
    "normal": np.random.default_rng(0).standard_normal(20_000).astype(np.float32),
    "heavy tail": np.random.default_rng(1).standard_cauchy(20_000).astype(np.float32),
    "probabilities": np.random.default_rng(2).dirichlet(np.ones(16), 500).astype(np.float32),
    "tiny": np.float32([1e-30, -2e-30]),
    "zeros and one": np.float32([0.0] * 999 + [5.0]),
}


def test_the_usual_four_are_there() -> None:
    assert {"max", "percentile", "mse", "entropy"} <= set(NAMES)


def test_an_unknown_calibrator_is_refused_with_the_list() -> None:
    for name in ("minmax", "", "Max", "../max", "__init__"):
        with pytest.raises(InputError, match=", ".join(NAMES)):
            calibrator_from_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_has_a_docstring_and_the_function_as_promised(name: str) -> None:
    module = calibrator_from_name(name)
    assert inspect.getdoc(module)
    parameters = inspect.signature(module.amax_from_counts).parameters
    assert list(parameters) == ["counts", "amax", "percentile"]
    assert parameters["percentile"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_a_range_is_a_finite_float_between_nothing_and_the_maximum(name: str, values: np.ndarray) -> None:
    amax = float(np.abs(values).max())
    counts = counts_from_values(values)
    before = counts.copy()
    found = calibrator_from_name(name).amax_from_counts(counts, amax, percentile=99.99)
    assert type(found) is float and 0 < found <= amax
    assert found == calibrator_from_name(name).amax_from_counts(counts, amax, percentile=99.99)
    np.testing.assert_array_equal(counts, before)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_seen_is_no_failure(name: str) -> None:
    assert calibrator_from_name(name).amax_from_counts(np.zeros(BINS, np.int64), 0.0, percentile=99.99) == 0


@pytest.mark.parametrize("name", NAMES)
def test_more_of_the_same_text_gives_the_same_range(name: str) -> None:
    values = SAMPLES["normal"]
    counts, amax = counts_from_values(values), float(np.abs(values).max())
    method = calibrator_from_name(name)
    once = method.amax_from_counts(counts, amax, percentile=99.99)
    assert method.amax_from_counts(7 * counts, amax, percentile=99.99) == pytest.approx(once, rel=1e-6)


def test_adding_a_calibrator_needs_no_list() -> None:
    """No name of a calibrator stands in the package's own code."""
    tree = ast.parse(inspect.getsource(package))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not words & set(NAMES)
