"""Tiny models as TensorRT's files, and the double in TensorRT's place: what the tests of several rooms need."""

from __future__ import annotations

import sys
from collections.abc import Callable

import onnx_ir as ir
import pytest

from bertc.export.engine_options import EngineOptions
from bertc.export.tensorrt.limits import NEEDS
from bertc.targets import Target, target_from_name
from tests.tensorrt_api import number
from tests.tensorrt_double import Double
from tests.tiny import TinyModel, quantized, tiny_model, tiny_scheme

TARGET, FP8 = (target_from_name(name) for name in ("tensorrt", "tensorrt-fp8"))
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


def lowered(model: TinyModel, attention: str = "decomposed", mode: str = "1", *, target: Target = TARGET) -> ir.Model:
    options = EngineOptions(attention=attention, lengths=(5, 20, 30, 60), longest=128)
    return target.onnx_from_graph(quantized(model, tiny_scheme(mode)).graph, options)


def skip_before(version: str, attention: str) -> None:
    """Skip versions that lack the attention."""
    since = NEEDS[attention].since
    if number(version) < since:
        pytest.skip(f"{attention} came with {since[0]}.{since[1]}")
