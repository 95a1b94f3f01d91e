"""Where an activation's lower bound is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.ir.interpret import Interpreter
from bertc.ir.one_sided import LOWEST, lower_bounds
from bertc.ir.sites import Role, Site
from bertc.quantize.smooth import smooth_graph
from tests.tiny import LAYERS, TinyModel, tiny_model, tiny_scheme


@pytest.mark.parametrize("activation, lowest", [("gelu", "Gelu"), ("gelu_new", "Gelu"), ("relu", "Relu")])
def test_no_activation_falls_below_its_bound(activation: str, lowest: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, config={"hidden_act": activation})
    minima = lower_bounds(model.graph)
    gelus = {Site(layer, Role.ACTIVATION): LOWEST[lowest] for layer in range(LAYERS)}
    assert minima == gelus | {Site(layer, Role.PROBS): 0.0 for layer in range(LAYERS)}
    values = Interpreter(model.graph, observe_sites=True).run_sites(model.batch, list(minima))
    for site, array in values:
        assert array.min() >= minima[site]
        assert minima[site] == 0 or array.min() < 0.9 * minima[site], "the bound is close"


def test_behind_a_division_there_is_no_bound_of_its_own(tiny_classifier: TinyModel) -> None:
    assert not lower_bounds(smooth_graph(tiny_classifier.graph, tiny_classifier.table, tiny_scheme("1")))


def test_the_bounds_are_those_of_the_functions() -> None:
    x = np.linspace(-10, 10, 2_000_001)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    assert LOWEST["Gelu"] < tanh.min() < LOWEST["Gelu"] + 2e-4
