"""What every target obeys, whether or not its runtime is installed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest

from bertc.errors import InputError
from bertc.graph.sites import Role
from bertc.runtime.cpu import INT8_FEATURES
from bertc.targets import Target, target_from_name, target_names

NAMES = target_names()
FUNCTIONS = {
    "check_machine": ["cpu"],
    "onnx_from_graph": ["graph"],
    "engine_from_onnx": ["model", "threads"],
}


def test_the_default_and_the_references_are_there() -> None:
    assert {"ort-cpu", "float", "ort-cpu-dynamic"} <= set(NAMES)
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
    if function == "engine_from_onnx":
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
def test_only_a_static_target_has_roles_that_it_leaves_in_float(name: str) -> None:
    target = target_from_name(name)
    assert target.STATIC_INT8 or not target.FLOAT_ROLES
