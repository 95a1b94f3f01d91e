"""TensorRT's library as a whole: where its plugins' module is, what it prints, what it does not give."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from bertc.errors import EnvironmentLackError
from bertc.runtime.tensorrt.library import made, quick_plugins, stdout_on_stderr
from tests.tensorrt_double import Double
from tests.tensorrt_tiny import Install

BINDINGS = "tensorrt_bindings.plugin"


@pytest.mark.parametrize("version, name", [("v10.12.0", BINDINGS), ("v10.13.3", BINDINGS), ("v10.14", None)])
def test_the_plugins_module_is_found_where_a_version_has_it(version: str, name: str | None, install: Install) -> None:
    install(Double(version=version))
    assert quick_plugins() is sys.modules[name or "tensorrt.plugin"]


def test_without_either_module_the_error_names_one(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(Double())
    for name in ("tensorrt.plugin", "tensorrt_bindings"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(ModuleNotFoundError, match="tensorrt_bindings"):
        quick_plugins()


def test_what_is_printed_below_python_is_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), stdout_on_stderr():
        os.write(1, b"from C\n")
        raise ValueError("inside")
    os.write(1, b"after\n")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("after\n", "from C\n")


def test_a_closed_stdout_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(os, "dup", lambda number: pytest.fail("there is nothing to keep"))
    with stdout_on_stderr():
        pass


def test_a_null_pointer_is_an_error_with_what_was_said() -> None:
    assert made(0, "network", ["no memory"]) == 0
    with pytest.raises(EnvironmentLackError, match=r"^TensorRT gives no network: no memory$"):
        made(None, "network", ["no memory"])
