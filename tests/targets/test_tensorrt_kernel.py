"""`--attention kernel` against a double of TensorRT: what is registered, in which form, and what a node becomes.

The kernel's compiler is a double too; the real one, without TensorRT, is in tests/runtime/tensorrt/kernels. Nothing
here shows that TensorRT takes the plugin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bertc.errors import EnvironmentLackError
from bertc.export.engine_options import EngineOptions
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.tensorrt import library
from bertc.runtime.tensorrt.kernel_plugin import Kernel, register_kernel
from bertc.targets import target_from_name
from tests.tensorrt_double import Double
from tests.tiny import LAYERS, TinyModel, quantized, tiny_model, tiny_scheme

TARGET = target_from_name("tensorrt")
KERNEL = Kernel(identifier="bertc::PackedInt8Attention_2x32", heads=2, size=32)
PLUGIN = "bertc::PackedInt8Attention_2x32"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a double in the compiler's place; gives what it was asked for."""
    asked: list[dict[str, Any]] = []

    def compiled_attention(capability: int, **options: Any) -> SimpleNamespace:
        asked.append({"capability": capability} | options)
        return SimpleNamespace(name="attend", ptx=".entry attend()", threads=128, shared=20480, rows=64)

    module: Any = ModuleType("bertc.runtime.tensorrt.kernels.ahead")
    module.compiled_attention = compiled_attention
    monkeypatch.setitem(sys.modules, "bertc.runtime.tensorrt.kernels.ahead", module)
    return asked


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Double:
    """TensorRT of a version, as a double."""
    made = Double(version=getattr(request, "param", "v11.4"))
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny classifier with two heads of size 32."""
    return tiny_model(tmp_path_factory.mktemp("heads"), hidden=64, heads=2)


def write(model: TinyModel, folder: Path, attention: str = "kernel") -> Path:
    options = EngineOptions(attention=attention, lengths=(5, 20, 30, 60), longest=128)
    return TARGET.runtime.write_model(TARGET.onnx_from_graph(quantized(model, tiny_scheme("1")).graph, options), folder)


@pytest.mark.parametrize("double", ["v10.12.0", "v10.16", "v11.4"], indirect=True)
def test_every_layer_gets_the_code_for_this_gpu_and_its_grid(
    double: Double, compiled: list[dict[str, Any]], model: TinyModel, tmp_path: Path
) -> None:
    write(model, tmp_path)
    assert compiled == [{"capability": 89, "size": 32, "half_scales": True}] * LAYERS
    launch = {"grid_x": "ceil(longest[0] / 64)", "grid_y": "2", "grid_z": "(ends[0] - 1)"}
    launch |= {"block_x": "128", "shared_mem": "20480"}
    assert double.quick.built == [("attend", ".entry attend()", launch)] * LAYERS
    calls = [call for call in double.calls if call.startswith(("plugin.", "OnnxParser.parse"))]
    assert calls == [f"plugin.register({PLUGIN!r})", f"plugin.aot_impl({PLUGIN!r})", "OnnxParser.parse(<bytes>)"]


def test_a_second_build_of_a_process_registers_nothing_again(
    double: Double, compiled: list[dict[str, Any]], model: TinyModel, tmp_path: Path
) -> None:
    for _ in range(2):
        write(model, tmp_path)
    assert sum(call.startswith("plugin.register") for call in double.calls) == 1
    assert len(double.quick.built) == 2 * LAYERS


def test_a_model_with_other_heads_gets_a_plugin_of_its_own(
    double: Double, compiled: list[dict[str, Any]], model: TinyModel, tmp_path: Path
) -> None:
    write(model, tmp_path)
    write(tiny_model(tmp_path / "wider", hidden=64, heads=1), tmp_path)
    registered = [call for call in double.calls if call.startswith("plugin.register")]
    assert registered == [f"plugin.register('bertc::PackedInt8Attention_{sizes}')" for sizes in ("2x32", "1x64")]
    grids = [
        (launch["grid_y"], asked["size"]) for (_, _, launch), asked in zip(double.quick.built, compiled, strict=True)
    ]
    assert grids == [("2", 32)] * LAYERS + [("1", 64)] * LAYERS


def test_nothing_that_tensorrt_prints_is_on_stdout(
    double: Double,
    compiled: list[dict[str, Any]],
    model: TinyModel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The module's own warning stands there, at C level, where `--json` promises a document."""
    write(model, tmp_path)
    said = capfd.readouterr()
    assert said.out == "" and "[TRT] [W]" in said.err
    double.quick.register("other::Plugin")
    assert "[TRT] [W]" in capfd.readouterr().out, "the double says nothing on stdout"


@pytest.mark.parametrize(
    "raised, error, message",
    [
        (EnvironmentLackError("Triton is too old; install another"), EnvironmentLackError, "^Triton is too old"),
        (
            ValueError("no such size"),
            EnvironmentLackError,
            "^the plugin of --attention kernel fails: ValueError: no such size; choose another attention$",
        ),
    ],
)
def test_what_a_function_of_the_plugin_raises_is_raised_after_the_build(
    raised: Exception,
    error: type[Exception],
    message: str,
    double: Double,
    compiled: list[dict[str, Any]],
    model: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(capability: int, **options: Any) -> SimpleNamespace:
        raise raised

    ahead = sys.modules["bertc.runtime.tensorrt.kernels.ahead"]
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "compiled_attention", failing)
        with pytest.raises(error, match=message):
            write(model, tmp_path)
    assert not (tmp_path / "model.plan").exists()


def test_no_other_attention_registers_it(
    double: Double, compiled: list[dict[str, Any]], model: TinyModel, tmp_path: Path
) -> None:
    write(model, tmp_path, "decomposed")
    assert not compiled and not [call for call in double.calls if call.startswith("plugin.")]


def test_without_triton_it_is_refused_before_and_at_the_build(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setitem(sys.modules, "bertc.runtime.tensorrt.kernels.ahead", None)
    monkeypatch.setattr(library, "find_spec", lambda name: None if name == "triton" else object())
    for call in (lambda: TARGET.check_machine(cpu_features(), "kernel"), lambda: register_kernel(KERNEL)):
        with pytest.raises(EnvironmentLackError, match=r'needs.*pip install "bertc\[triton\]"'):
            call()
    TARGET.check_machine(cpu_features(), "decomposed")


@pytest.mark.parametrize("capability, taken", [((8, 0), True), ((9, 0), True), ((7, 5), False), ((10, 3), False)])
def test_it_is_refused_on_a_gpu_that_it_was_not_compiled_for(
    capability: tuple[int, int], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in Double(version="v11.4", capability=capability).modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(library, "find_spec", lambda name: object())
    if taken:
        TARGET.check_machine(cpu_features(), "kernel")
        return
    with pytest.raises(EnvironmentLackError, match=r"--attention kernel has INT8 kernels for 8\.0, .* 12\.0"):
        TARGET.check_machine(cpu_features(), "kernel")
