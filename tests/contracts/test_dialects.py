"""What every dialect obeys: it lowers a float graph to the same function and leaves its argument alone."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest

import bertc.export
from bertc.graph.encoder import INPUTS
from bertc.ir.emit import DOMAIN
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Role
from tests.conftest import TinyOf
from tests.tiny import OUTPUTS, quantized, rms, run_engine, tiny_scheme

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(bertc.export.__path__, "bertc.export.")
    if not module.ispkg
]
SHARED = {"bertc.export.embeddings", "bertc.export.engine_options", "bertc.export.half"}
DIALECTS = [module for module in MODULES if hasattr(module, "lower_graph")]
each_dialect = pytest.mark.parametrize(
    "dialect", DIALECTS, ids=lambda module: module.__name__.removeprefix("bertc.export.")
)


def test_every_file_is_a_dialect_or_a_part_of_one() -> None:
    names = {module.__name__ for module in DIALECTS}
    assert "bertc.export.ort.lower" in names
    for module in MODULES:
        assert inspect.getdoc(module)
        assert (
            module in DIALECTS
            or module.__name__ in SHARED
            or any(module.__name__.startswith(f"{name.rsplit('.', 1)[0]}.") for name in names)
        )


@each_dialect
def test_a_dialect_says_what_it_cannot_run(dialect: ModuleType) -> None:
    assert set(dialect.FLOAT_ROLES) <= set(Role)
    assert all(isinstance(reason, str) and reason for reason in dialect.FLOAT_ROLES.values())


@each_dialect
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_float_graph_keeps_its_function_inputs_and_outputs(dialect: ModuleType, task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    before = ir.to_proto(model.graph).SerializeToString()
    lowered = dialect.lower_graph(model.graph)
    assert ir.to_proto(model.graph).SerializeToString() == before
    assert tuple(value.name for value in lowered.graph.inputs) == INPUTS
    assert tuple(value.name for value in lowered.graph.outputs) == OUTPUTS[task]
    assert not any(node.domain == DOMAIN for node in lowered.graph)
    exact = Interpreter(model.graph).run(model.batch)
    mask = model.batch.mask.astype(bool)
    for name, found in zip(exact, run_engine(lowered, model.batch, list(exact)), strict=True):
        difference = np.abs(found - exact[name])
        assert (difference[mask] if difference.shape[:2] == mask.shape else difference).max() < 1e-4


@each_dialect
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel"), ("3", None)])
def test_every_mode_without_the_float_roles_lowers_to_the_simulator_s_numbers(
    dialect: ModuleType, mode: str, granularity: str | None, tiny_of: TinyOf
) -> None:
    model = tiny_of("sequence-classification")
    scheme = tiny_scheme(mode, granularity).without_roles(frozenset(dialect.FLOAT_ROLES))
    graph = quantized(model, scheme).graph
    exact, simulated = (Interpreter(each).run(model.batch)["logits"] for each in (model.graph, graph))
    (found,) = run_engine(dialect.lower_graph(graph), model.batch, ["logits"])
    # A dialect without INT8 leaves nothing to simulate; then only the order of additions differs.
    assert rms(found - simulated) <= 0.3 * rms(simulated - exact) + 1e-6 * rms(exact)
