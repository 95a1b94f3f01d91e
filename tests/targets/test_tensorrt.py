"""The target `tensorrt` against a double of TensorRT 10 and 11: its calls, its refusals, and what it reads back.

Nothing here shows that TensorRT builds or runs anything: `test_tensorrt_real.py` does, where TensorRT is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.artefact.manifest import read_manifest
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.tensorrt import library
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert
from tests.tensorrt_double import Double
from tests.tensorrt_tiny import TARGET, Install, lowered, skip_before
from tests.tiny import TinyModel, tiny_scheme

VERSIONS = ["v10.12.0", "v10.14", "v10.16", "v11.0", "v11.4"]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make TensorRT absent, whether or not it is here."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(library, "find_spec", lambda name: None)


# --- without TensorRT -------------------------------------------------------------------------------------------------


def test_the_versions_in_errors_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["tensorrt"] == list(library.REQUIREMENTS)


def test_a_missing_library_is_said_by_every_function(missing: None, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    for call in (
        lambda: TARGET.check_machine(cpu_features()),
        lambda: TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path),
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
        lambda: TARGET.runtime.optimized_from_path(path),
    ):
        with pytest.raises(EnvironmentLackError, match=r'pip install "bertc\[tensorrt\]"'):
            call()
    assert not list(tmp_path.iterdir())


def test_a_build_without_the_library_is_code_3_and_writes_nothing(
    missing: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", "tensorrt", *options)
    assert called.code == 3 and called.out == ""
    assert called.err.count("\n") == 1 and "bertc[tensorrt]" in called.err
    assert not list(tmp_path.iterdir())


def test_without_the_library_nothing_heavy_is_imported_before_the_refusal(missing: None, tmp_path: Path) -> None:
    code = "import sys; import bertc.targets.tensorrt; print([m for m in "
    code += "('onnxruntime', 'torch', 'tensorrt', 'cuda', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


# --- the calls --------------------------------------------------------------------------------------------------------

BEGIN = """
Listener.init()
init_libnvinfer_plugins(Listener, '')
Listener.init()
Builder.init(Listener)
Builder.create_network({strongly_typed})
OnnxParser.init(INetworkDefinition, Listener)
OnnxParser.parse(<bytes>)
"""
NATIVE = """
INetworkDefinition.{add}(layer.{i}.query_heads.dequantized, layer.{i}.key_heads.dequantized, \
layer.{i}.value_heads.dequantized, AttentionNormalizationOp.SOFTMAX, {causal})
IAttention.name = 'layer.{i}.attention'
IAttention.decomposable = False
{texts}
IAttention.normalization_quantize_to_type = DataType.INT8
INetworkDefinition.add_constant((1,), <float32[1]>)
IConstantLayer.get_output(0)
IAttention.normalization_quantize_scale = constant
IAttention.get_output(0)
ILayer.set_input(0, attention's output)
"""
MASKED = "IAttention.mask = attention.mask"
SUMMED = """
INetworkDefinition.add_reduce(attention_mask, ReduceOperation.SUM, 2, False)
IReduceLayer.get_output(0)
"""
LENGTHS = "IAttention.key_value_lengths = sum of attention_mask"
PACKED = """\
IAttention.query_form = AttentionIOForm.PACKED_NHD
IAttention.key_value_form = AttentionIOForm.PACKED_NHD
IAttention.query_lengths = attention.ends
IAttention.key_value_lengths = attention.ends"""
CONFIG = """
Builder.create_builder_config()
IBuilderConfig.set_memory_pool_limit(MemoryPoolType.WORKSPACE, 4294967296)
IBuilderConfig.builder_optimization_level = 3
IBuilderConfig.profiling_verbosity = ProfilingVerbosity.DETAILED
IBuilderConfig.clear_flag(BuilderFlag.TF32)
"""
PROFILE = """
Builder.create_optimization_profile()
IOptimizationProfile.set_shape('input_ids', (1, 1), {usual}, {most})
IOptimizationProfile.set_shape('attention_mask', (1, 1), {usual}, {most})
IOptimizationProfile.set_shape('token_type_ids', (1, 1), {usual}, {most})
IBuilderConfig.add_optimization_profile(IOptimizationProfile)
"""
END = """
IBuilderConfig.create_timing_cache(<no bytes>)
IBuilderConfig.set_timing_cache(ITimingCache, False)
Builder.build_serialized_network(INetworkDefinition, IBuilderConfig)
"""
TIMINGS = """
IBuilderConfig.get_timing_cache()
ITimingCache.serialize()
"""


def expected_calls(version: str, attention: str, *, sparse: bool = False, cache: bool = True) -> list[str]:
    """Return the calls of a build, in order."""
    new = version.startswith("v11")
    text = BEGIN.format(strongly_typed=1 if new else 2)
    if attention in ("native", "packed"):
        texts = PACKED if attention == "packed" else LENGTHS if new else MASKED
        text += SUMMED if texts == LENGTHS else ""
        causal = "CausalMaskKind.NONE" if new else "False"
        add = "add_attention_v2" if new else "add_attention"
        text += "".join(NATIVE.format(i=layer, add=add, causal=causal, texts=texts) for layer in range(2))
    text += CONFIG
    text += "IBuilderConfig.set_flag(BuilderFlag.SPARSE_WEIGHTS)\n" if sparse else ""
    text += "Monitor.init()\nIBuilderConfig.progress_monitor = Monitor\n"
    for usual, most in (((8, 32), (512, 32)), ((8, 64), (256, 64)), ((8, 64), (128, 128))):
        text += PROFILE.format(usual=usual, most=most)
    text += END + (TIMINGS if cache else "")
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("attention", ["decomposed", "native", "packed"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_makes_these_calls(
    version: str, attention: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    double = install(Double(version=version))
    model = lowered(tiny_classifier, attention)
    assert TARGET.runtime.write_model(model, tmp_path, cache=tmp_path) == tmp_path / "model.plan"
    assert double.calls == expected_calls(version, attention)
    assert double.monitored == [True, True]


def test_sparse_weights_set_the_flag(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    double = install(Double())
    model = lowered(tiny_classifier)
    weight = model.graph.initializers["layer.1.gelu.scale"]  # any other constant does not count
    assert weight is not None
    codes = model.graph.initializers["layer.1.output_gemm.weight"]
    assert codes.const_value is not None
    array = np.array(codes.const_value.numpy())
    array.reshape(-1, 4, array.shape[1])[:, 2:] = 0
    codes.const_value = ir.tensor(array, name=codes.name)
    TARGET.runtime.write_model(model, tmp_path)
    assert double.calls == expected_calls("v10.14", "decomposed", sparse=True, cache=False)


def test_timings_are_kept_and_taken_up(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    install(Double(version="v11.4"))
    for _ in range(2):
        TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path, cache=tmp_path)
    (timings,) = tmp_path.glob("*.timing")
    assert timings.name == "tensorrt-11.4.0.1-sm89.timing"
    assert timings.read_bytes() == b"timed;timed;"


class Heard:
    """What a build says of its progress."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.said.append(f"{name} {total}")

    def advance(self, units: int = 1) -> None:
        self.said.append("step")

    def end(self) -> None:
        self.said.append("end")

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    "refused, note, kept",
    [
        ("", "", b"timed;timed;"),
        ("set_timing_cache", r"does not take the timings of earlier builds in .*timing; it measures again", b"timed;"),
        ("create_timing_cache", "takes no cache of timings; it measures without one", None),
        ("get_timing_cache", "gives no timings to keep", None),
    ],
)
def test_timings_that_tensorrt_does_not_take_or_give_are_said_and_cost_no_build(
    refused: str, note: str, kept: bytes | None, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    file = tmp_path / "tensorrt-10.14.0.1-sm89.timing"
    file.write_bytes(b"timed;")
    install(Double(refused=frozenset({refused})))
    heard = Heard()
    path = TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path, progress=heard, cache=tmp_path)
    assert path.is_file() and file.read_bytes() == (kept or b"timed;")
    notes = [each for each in heard.said if not each.startswith(("tensorrt: ", "step"))]
    assert bool(notes) == bool(note) and re.search(note, " ".join(notes))


def test_progress_is_the_outermost_phase_s(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    install(Double())
    heard = Heard()
    TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path, progress=heard)
    assert heard.said == ["tensorrt: Building 2", "step"]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "double, message",
    [
        (Double(parse_error="no\nimporter  for Gelu"), r"cannot read the model: Gelu layer\.0\.gelu: no importer for"),
        (Double(build_error="could not find any implementation"), r"cannot build .*Double: could not find any impl"),
    ],
)
def test_what_tensorrt_refuses_is_said_in_one_sentence(
    double: Double, message: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    install(double)
    with pytest.raises(InputError, match=message) as caught:
        TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path)
    assert "\n" not in str(caught.value) and "of no interest" not in str(caught.value)
    assert not (tmp_path / "model.plan").exists()


@pytest.mark.parametrize(
    "refused, message",
    [
        ("set_shape", r"the profile of at most \d+ texts of 32 tokens for input_ids: Shape provided for min is incons"),
        ("profile", r"the profile of at most \d+ texts of 32 tokens: it gives no reason"),
    ],
)
def test_a_profile_that_tensorrt_refuses_is_said(
    refused: str, message: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    install(Double(refused=frozenset({refused})))
    with pytest.raises(InputError, match=message):
        TARGET.runtime.write_model(lowered(tiny_classifier), tmp_path)
    assert not (tmp_path / "model.plan").exists()


SETTINGS = ["normalization_quantize_to_type", "normalization_quantize_scale", "decomposable"]


@pytest.mark.parametrize(
    "version, attention, setting",
    [
        *(("v10.16", "native", name) for name in [*SETTINGS, "mask"]),
        *(("v11.4", "native", name) for name in [*SETTINGS, "key_value_lengths"]),
        *(("v11.4", "packed", name) for name in [*SETTINGS, "key_value_lengths", "query_lengths", "query_form"]),
    ],
)
def test_a_setting_that_the_layer_does_not_take_stops_the_build(
    version: str, attention: str, setting: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    """TensorRT's setters give a value that Python never sees; the double leaves the setting as it was."""
    install(Double(version=version, refused=frozenset({setting})))
    with pytest.raises(InputError, match=rf"layer layer\.0\.attention does not take {setting}; choose --attention"):
        TARGET.runtime.write_model(lowered(tiny_classifier, attention), tmp_path)
    assert not (tmp_path / "model.plan").exists()


def test_a_file_that_is_not_for_native_is_refused(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    install(Double())
    model = lowered(tiny_classifier)
    model.metadata_props["bertc.attention"] = "native"
    with pytest.raises(InputError, match=r"no value layer\.0|no value attention|export"):
        for node in model.graph:
            node.name = f"other {node.name}"
        TARGET.runtime.write_model(model, tmp_path)


def test_without_a_gpu_it_is_refused(install: Install) -> None:
    install(Double(gpus=0))
    with pytest.raises(EnvironmentLackError, match="no CUDA-capable device"):
        TARGET.check_machine(cpu_features())


@pytest.mark.parametrize(
    "version, attention, message",
    [
        (
            "v10.12.0",
            "native",
            r"native needs TensorRT 10\.14 or later, before 12\.0, and 10\.12\.0\.0\.1 is",
        ),
        ("v10.16", "packed", r"packed needs TensorRT 11\.0 or later, before 12\.0, and 10\.16\.0\.1 is"),
        ("v11.4", "packed", ""),
        ("v11.4", None, ""),
    ],
)
def test_a_version_that_an_attention_does_not_run_on_is_refused(
    version: str, attention: str | None, message: str, install: Install
) -> None:
    install(Double(version=version))
    if not message:
        TARGET.check_machine(cpu_features(), attention)
        return
    with pytest.raises(EnvironmentLackError, match=message):
        TARGET.check_machine(cpu_features(), attention)


@pytest.mark.parametrize(
    "capability, attention, message",
    [
        ((7, 0), None, r"NVIDIA Old has compute capability 7\.0, .* kernels for 7\.5 or more; choose"),
        ((7, 0), "native", r"--attention native has INT8 kernels for 7\.5 or more"),
        ((12, 1), "native", ""),
    ],
)
def test_a_gpu_that_an_attention_does_not_run_on_is_refused(
    capability: tuple[int, int], attention: str | None, message: str, install: Install
) -> None:
    install(Double(capability=capability, device=b"NVIDIA Old"))
    if not message:
        TARGET.check_machine(cpu_features(), attention)
        return
    with pytest.raises(EnvironmentLackError, match=message):
        TARGET.check_machine(cpu_features(), attention)


def test_a_plan_of_another_gpu_is_refused(install: Install, tmp_path: Path) -> None:
    install(Double())
    path = tmp_path / "model.plan"
    path.write_bytes(b"another machine's")
    for call in (
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
        lambda: TARGET.runtime.optimized_from_path(path),
    ):
        with pytest.raises(InputError, match="plan file is not compatible; an engine runs only on the GPU model"):
            call()
    path.unlink()
    with pytest.raises(InputError, match=r"model\.plan cannot be opened by TensorRT: No such file"):
        TARGET.runtime.engine_from_path(path, threads=1)


# --- what is read back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention, fused", [("decomposed", 0), ("native", 2), ("packed", 2)])
@pytest.mark.parametrize("version", ["v10.14", "v11.4"])
def test_the_inspector_s_layers_are_counted(
    version: str, attention: str, fused: int, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    install(Double(version=version))
    model = lowered(tiny_classifier, attention)
    found = TARGET.runtime.optimized_from_path(TARGET.runtime.write_model(model, tmp_path))
    assert (found.gemms_int8, found.gemms_float, found.fused["attention"]) == (12, 0, fused)
    assert found.fused["int8_attention"] == 2
    assert found.fused.items() >= TARGET.expected_fusion(tiny_scheme("1"), 2).items()
    assert found.bound_to == {"device": "NVIDIA Double", "driver": "CUDA 13.0"}
    assert found.runtime.startswith("tensorrt 1")


# --- a whole build ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version, attention", [("v10.16", "native"), ("v11.4", "packed")])
def test_a_build_is_validated_and_bound_to_its_gpu(
    version: str, attention: str, install: Install, bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    install(Double(version=version))
    checkpoint = write_tiny_bert(tmp_path / "checkpoint", hidden=64, heads=1)
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", checkpoint, "-o", out, "--target", "tensorrt", "--attention", attention, *options)
    assert called.code == 0, called.err
    binding = read_manifest(out).binding
    assert binding is not None
    assert (binding.device, binding.driver) == ("NVIDIA Double", "CUDA 13.0")
    assert binding.runtime == f"tensorrt {version[1:]}.0.1"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert "had never been executed" in report["engine"]["note"]
    assert any("had never been executed" in warning for warning in report["warnings"])
    assert report["quantization"]["fused"]["attention"] == 2
    assert report["engine"]["onnx_bytes"] > 0
    assert bertc("predict", out, "--text", "good film").code == 0


def test_an_engine_that_is_not_int8_is_refused(
    install: Install, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Double())
    monkeypatch.setattr("tests.tensorrt_double.said", lambda kind, version: {"Format/Datatype": "Half"})
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", "tensorrt", *options)
    assert called.code == 3 and "INT8 GEMMs: 0 of 12" in called.err
    assert not (tmp_path / "out").exists()
