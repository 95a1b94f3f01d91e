"""What every target obeys, whether or not its runtime is installed."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from bertc.core.plugins import TARGETS
from bertc.errors import InputError
from bertc.graph.encoder import INPUTS
from bertc.ir.emit import DOMAIN
from bertc.ir.sites import Role
from bertc.recipe.sections import EngineRecipe
from bertc.runtime.machine.cpu import INT8_FEATURES
from bertc.runtime.runtime import Runtime
from bertc.targets import Target, target_from_name
from tests.tiny import LAYERS, TinyModel, quantized, tiny_scheme

NAMES = TARGETS.names()
FUNCTIONS = {"lower": 2, "expected_fusion": 2, "check_cpu": 1}
"""How many arguments a target's functions are called with."""


def test_the_default_and_the_references_are_there() -> None:
    assert {"ort-cpu", "float", "ort-cpu-dynamic", "openvino", "native"} <= set(NAMES)
    assert not any("_" in name for name in NAMES)
    assert [name for name in NAMES if "the default" in target_from_name(name).summary] == [EngineRecipe().target]


@pytest.mark.parametrize("name", ["gpu", "", "ort_cpu", "Float", "../float", "__init__"])
def test_an_unknown_target_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(InputError, match=", ".join(NAMES)):
        target_from_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_documented_and_its_target_has_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect.getdoc(TARGETS.module(name))
    target = target_from_name(name)
    assert target is TARGETS.module(name).TARGET and target.name == name
    monkeypatch.setattr("bertc.targets.library_versions", lambda library: {library: "1.2"})
    assert target.cache_key()[:2] == [name, "1.2"]


@pytest.mark.parametrize("name", NAMES)
def test_functions_take_what_they_are_called_with(name: str) -> None:
    for function, number in FUNCTIONS.items():
        signature = inspect.signature(getattr(target_from_name(name), function))
        signature.bind(*[None] * number)
        with pytest.raises(TypeError):
            signature.bind(*[None] * (number - 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_runtime_has_the_functions_of_the_base_class(name: str) -> None:
    runtime = target_from_name(name).runtime
    assert isinstance(runtime, Runtime) and hash(runtime) == hash(copy(runtime)), "it is a value"
    for function in Runtime.__abstractmethods__:
        promised, found = (inspect.signature(getattr(each, function)) for each in (Runtime, type(runtime)))
        assert list(found.parameters.values()) == list(promised.parameters.values())


@pytest.mark.parametrize("content", [None, "TARGET", replace(target_from_name("float"), name="other")])
def test_a_file_that_holds_no_target_of_its_name_is_refused(content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TARGETS.module("float"), "TARGET", content)
    with pytest.raises(InputError, match=r"let its TARGET be a Target named 'float'"):
        target_from_name("float")


def test_a_target_is_frozen_and_says_all_that_has_no_default() -> None:
    target = target_from_name("float")
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.note = "changed"  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 3 required"):
        Target(name="new", summary="A new one", runtime=target.runtime)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NAMES)
def test_values_are_usable_in_a_report(name: str) -> None:
    target = target_from_name(name)
    assert target.summary and "\n" not in target.summary and len(target.summary) < 100
    assert type(target.static_int8) is bool and isinstance(target.note, str)
    assert isinstance(target.float_roles, Mapping) and set(target.float_roles) <= set(Role)
    assert all(target.float_roles.values())
    assert isinstance(target.runtime.sparsity, str) and "\n" not in target.runtime.sparsity
    assert set(target.demands) <= INT8_FEATURES and isinstance(target.demands, tuple)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_consists_of_plain_files(name: str) -> None:
    target = target_from_name(name)
    assert target.runtime.model_files and len(set(target.runtime.model_files)) == len(target.runtime.model_files)
    assert all(Path(file).name == file for file in target.runtime.model_files)
    opened = Path("folder") / target.runtime.model_files[0]
    assert target.runtime.files_of_model(opened) == tuple(Path("folder") / file for file in target.runtime.model_files)
    assert not set(target.runtime.model_files) & set(target.runtime.companion_files)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_s_library_is_bertc_s_own_a_dependency_or_an_extra_of_its_name(name: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    library = target_from_name(name).runtime.library
    requirements = [project["name"], *project["dependencies"], *extras.get(library, ())]
    assert any(re.match(rf"{library}\b", requirement) for requirement in requirements)


@pytest.mark.parametrize("name", NAMES)
def test_layers_imply_fusions_whatever_the_scheme(name: str) -> None:
    target = target_from_name(name)
    scheme = tiny_scheme("1") if target.static_int8 else None
    expected = target.expected_fusion(scheme, LAYERS)
    assert expected["layer_norm"] == 2 * LAYERS + 1
    assert set(expected) == set(target.expected_fusion(None, LAYERS)), "the report's rows do not depend on the scheme"


@pytest.mark.parametrize("name", NAMES)
def test_every_target_lowers_the_float_graph_without_its_runtime(name: str, tiny_classifier: TinyModel) -> None:
    target = target_from_name(name)
    graph = tiny_classifier.graph
    if target.static_int8:
        graph = quantized(tiny_classifier, tiny_scheme("1").without_roles(frozenset(target.float_roles))).graph
    lowered = target.onnx_from_graph(graph)
    assert tuple(value.name for value in lowered.graph.inputs) == INPUTS
    assert not any(node.domain == DOMAIN for node in target.runtime.onnx_graph(lowered).graph)


@pytest.mark.parametrize("name", NAMES)
def test_only_a_static_target_has_roles_that_it_leaves_in_float(name: str) -> None:
    target = target_from_name(name)
    assert target.static_int8 or not target.float_roles
