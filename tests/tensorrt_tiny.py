"""Tiny models as TensorRT's files, and the double in TensorRT's place: what the tests of several rooms need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir
import pytest

from bertc.export.engine_options import EngineOptions
from bertc.export.tensorrt.limits import NEEDS
from bertc.targets import target_from_name
from tests.tensorrt_double import Double
from tests.tiny import TinyModel, quantized, tiny_model, tiny_scheme

TARGET = target_from_name("tensorrt")
Install = Callable[[Double], Double]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Give a function that makes a double the TensorRT of this process."""

    def of(double: Double) -> Double:
        for name, module in double.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        return double

    return of


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny classifier with heads of size 64."""
    return tiny_model(tmp_path_factory.mktemp("wide"), hidden=64, heads=1)


def lowered(model: TinyModel, attention: str = "decomposed", mode: str = "1") -> ir.Model:
    scheme = replace(tiny_scheme(mode), tie_operands=attention == "plugin")
    options = EngineOptions(attention=attention, lengths=(5, 20, 30, 60), longest=128)
    return TARGET.onnx_from_graph(quantized(model, scheme).graph, options)


def skip_before(version: str, attention: str) -> None:
    """Skip versions that lack the attention."""
    since = NEEDS[attention].since
    if tuple(map(int, version[1:].split(".")[:2])) < since:
        pytest.skip(f"{attention} came with {since[0]}.{since[1]}")
