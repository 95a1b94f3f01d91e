"""What every target obeys, whether or not its runtime is installed."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from bertc.errors import InputError
from bertc.graph.build import INPUTS
from bertc.graph.emit import DOMAIN
from bertc.graph.sites import Role
from bertc.runtime.cpu import INT8_FEATURES
from bertc.targets import Target, model_files, target_from_name, target_names
from tests.tiny import LAYERS, TinyModel, quantized, tiny_scheme

NAMES = target_names()
FUNCTIONS = {
    "check_machine": ["cpu", "attention"],
    "onnx_from_graph": ["graph", "options"],
    "write_model": ["lowered", "folder", "progress", "cache"],
    "engine_from_path": ["model", "threads", "cache"],
    "optimized_from_path": ["model"],
    "expected_fusion": ["scheme", "layers"],
}


def test_the_default_and_the_references_are_there() -> None:
    assert {"ort-cpu", "float", "ort-cpu-dynamic", "openvino"} <= set(NAMES)
    assert not any("_" in name for name in NAMES)


@pytest.mark.parametrize("name", ["gpu", "", "ort_cpu", "Float", "../float", "__init__"])
def test_an_unknown_target_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(InputError, match=", ".join(NAMES)):
        target_from_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_has_every_name_of_the_protocol(name: str) -> None:
    target = target_from_name(name)
    members = set(Target.__annotations__) | set(FUNCTIONS)
    assert all(hasattr(target, member) for member in members)
    assert members == {member for member in vars(Target) if not member.startswith("_")} | set(Target.__annotations__)
    assert inspect.getdoc(target)


@pytest.mark.parametrize("function, parameters", FUNCTIONS.items())
@pytest.mark.parametrize("name", NAMES)
def test_functions_take_what_the_protocol_says(name: str, function: str, parameters: list[str]) -> None:
    found = inspect.signature(getattr(target_from_name(name), function)).parameters
    assert list(found) == parameters
    if function == "engine_from_path":
        assert found["threads"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", NAMES)
def test_values_are_usable_in_a_report(name: str) -> None:
    target = target_from_name(name)
    assert target.SUMMARY and "\n" not in target.SUMMARY and len(target.SUMMARY) < 100
    assert type(target.STATIC_INT8) is bool and isinstance(target.NOTE, str)
    assert isinstance(target.FLOAT_ROLES, Mapping) and set(target.FLOAT_ROLES) <= set(Role)
    assert all(target.FLOAT_ROLES.values())
    assert isinstance(target.SPARSITY, str) and "\n" not in target.SPARSITY
    assert set(target.DEMANDS) <= INT8_FEATURES and isinstance(target.DEMANDS, tuple)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_consists_of_plain_files(name: str) -> None:
    target = target_from_name(name)
    assert target.MODEL_FILES and len(set(target.MODEL_FILES)) == len(target.MODEL_FILES)
    assert all(Path(file).name == file for file in target.MODEL_FILES)
    opened = Path("folder") / target.MODEL_FILES[0]
    assert model_files(target, opened) == tuple(Path("folder") / file for file in target.MODEL_FILES)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_s_library_is_a_dependency_or_an_extra_of_its_name(name: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    library = target_from_name(name).LIBRARY
    requirements = [*project["dependencies"], *extras.get(library, ())]
    assert any(re.match(rf"{library}\b", requirement) for requirement in requirements)


@pytest.mark.parametrize("name", NAMES)
def test_layers_imply_fusions_whatever_the_scheme(name: str) -> None:
    target = target_from_name(name)
    scheme = tiny_scheme("1") if target.STATIC_INT8 else None
    expected = target.expected_fusion(scheme, LAYERS)
    assert expected["layer_norm"] == 2 * LAYERS + 1
    assert set(expected) == set(target.expected_fusion(None, LAYERS)), "the report's rows do not depend on the scheme"


@pytest.mark.parametrize("name", NAMES)
def test_every_target_lowers_the_float_graph_without_its_runtime(name: str, tiny_classifier: TinyModel) -> None:
    target = target_from_name(name)
    graph = tiny_classifier.graph
    if target.STATIC_INT8:
        graph = quantized(tiny_classifier, tiny_scheme("1").without_roles(frozenset(target.FLOAT_ROLES))).graph
    lowered = target.onnx_from_graph(graph)
    assert tuple(value.name for value in lowered.graph.inputs) == INPUTS
    assert not any(node.domain == DOMAIN for node in lowered.graph)


@pytest.mark.parametrize("name", NAMES)
def test_only_a_static_target_has_roles_that_it_leaves_in_float(name: str) -> None:
    target = target_from_name(name)
    assert target.STATIC_INT8 or not target.FLOAT_ROLES
