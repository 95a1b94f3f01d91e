"""The target `tensorrt` against a double of TensorRT 10 and 11: its calls, its refusals, and what it reads back.

Nothing here shows that TensorRT builds or runs anything: `test_tensorrt_real.py` does, where TensorRT is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.batches import Batch
from bertc.dialects.tensorrt_needs import NEEDS
from bertc.errors import EnvironmentLackError, InputError
from bertc.graph.options import EngineOptions
from bertc.manifest import read_manifest
from bertc.runtime import tensorrt as library
from bertc.runtime.cpu import cpu_features
from bertc.runtime.engine import Engine
from bertc.runtime.tensorrt_engine import TensorrtEngine, open_engine
from bertc.runtime.tensorrt_layers import optimized_from_json
from bertc.runtime.tensorrt_profiles import profiles_from_lengths, profiles_from_text, text_from_profiles
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert
from tests.tensorrt_double import Double
from tests.tiny import TinyModel, quantized, run_engine, tiny_model, tiny_scheme

TARGET = target_from_name("tensorrt")
Install = Callable[[Double], Double]
VERSIONS = ["v10.12.0", "v10.14", "v10.16", "v11.0", "v11.1"]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Give a function that makes a double the TensorRT of this process."""

    def of(double: Double) -> Double:
        for name, module in double.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        return double

    return of


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make TensorRT absent, whether or not it is here."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(library, "find_spec", lambda name: None)


def lowered(model: TinyModel, attention: str = "decomposed", mode: str = "1") -> ir.Model:
    scheme = replace(tiny_scheme(mode), tie_operands=attention == "plugin")
    options = EngineOptions(attention=attention, lengths=(5, 20, 30, 60), longest=128)
    return TARGET.onnx_from_graph(quantized(model, scheme).graph, options)


# --- without TensorRT -------------------------------------------------------------------------------------------------


def test_the_versions_in_errors_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["tensorrt"] == list(library.REQUIREMENTS)


def test_a_missing_library_is_said_by_every_function(missing: None, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    for call in (
        lambda: TARGET.check_machine(cpu_features()),
        lambda: TARGET.write_model(lowered(tiny_classifier), tmp_path),
        lambda: TARGET.engine_from_path(path, threads=1),
        lambda: TARGET.optimized_from_path(path),
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
    code = "import sys; from bertc.targets.tensorrt import check_machine; print([m for m in "
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


def skip_before(version: str, attention: str) -> None:
    """Skip versions that lack the attention."""
    since = NEEDS[attention].since
    if tuple(map(int, version[1:].split(".")[:2])) < since:
        pytest.skip(f"{attention} came with {since[0]}.{since[1]}")


def expected_calls(version: str, attention: str, *, sparse: bool = False, cache: bool = True) -> list[str]:
    """Return the calls of a build, in order."""
    new = version.startswith("v11")
    text = BEGIN.format(strongly_typed=1 if new else 2)
    if attention in ("native", "packed"):
        texts = PACKED if attention == "packed" else MASKED
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


@pytest.mark.parametrize("attention", ["decomposed", "native", "packed", "plugin"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_makes_these_calls(
    version: str, attention: str, install: Install, tiny_classifier: TinyModel, wide: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    double = install(Double(version=version))
    model = lowered(wide if attention == "plugin" else tiny_classifier, attention)
    assert TARGET.write_model(model, tmp_path, cache=tmp_path) == tmp_path / "model.plan"
    assert double.calls == expected_calls(version, attention)
    assert double.monitored == [True, True]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny classifier with heads of size 64."""
    return tiny_model(tmp_path_factory.mktemp("wide"), hidden=64, heads=1)


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
    TARGET.write_model(model, tmp_path)
    assert double.calls == expected_calls("v10.14", "decomposed", sparse=True, cache=False)


def test_timings_are_kept_and_taken_up(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    install(Double(version="v11.1"))
    for _ in range(2):
        TARGET.write_model(lowered(tiny_classifier), tmp_path, cache=tmp_path)
    (timings,) = tmp_path.glob("*.timing")
    assert timings.name == "tensorrt-11.1.0.1-sm89.timing"
    assert timings.read_bytes() == b"timed;timed;"


def test_progress_is_the_outermost_phase_s(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    class Heard:
        def __init__(self) -> None:
            self.said: list[str] = []

        def stage(self, name: str, total: int | None = None) -> None:
            self.said.append(f"{name} {total}")

        def advance(self, units: int = 1) -> None:
            self.said.append("step")

        def note(self, text: str) -> None:
            raise AssertionError(text)

    install(Double())
    heard = Heard()
    TARGET.write_model(lowered(tiny_classifier), tmp_path, progress=heard)
    assert heard.said == ["tensorrt: Building 2", "step"]


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["decomposed", "native", "packed", "plugin"])
@pytest.mark.parametrize("version", ["v10.14", "v11.1"])
def test_the_engine_feeds_and_reads_what_the_file_computes(
    version: str, attention: str, install: Install, tiny_classifier: TinyModel, wide: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    double = install(Double(version=version))
    tiny = wide if attention == "plugin" else tiny_classifier
    model = lowered(tiny, attention)
    path = TARGET.write_model(model, tmp_path)
    (expected,) = run_engine(model, tiny.batch, ["logits"])
    engine = TARGET.engine_from_path(path, threads=1)
    for _ in range(2):
        (found,) = engine.run(tiny.batch, ["logits"])
        np.testing.assert_array_equal(found, expected)
    engine.close()
    assert not double.cuda.memory, "memory that nobody freed"


def ids_of(rows: int, length: int, seed: int = 0) -> Batch:
    ids = np.random.default_rng(seed).integers(5, 90, (rows, length))
    return Batch(input_ids=ids, token_type_ids=ids * 0, mask=ids * 0 + 1, order=tuple(range(rows)))


@pytest.fixture
def opened(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> tuple[Engine, Double]:
    """An engine of the double with profiles up to 32, 64 and 128 tokens, its calls so far forgotten."""
    double = install(Double(version="v11.1"))
    engine = TARGET.engine_from_path(TARGET.write_model(lowered(tiny_classifier), tmp_path), threads=1)
    double.calls.clear()
    return engine, double


@pytest.mark.parametrize("length, number", [(1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (128, 2)])
def test_a_length_has_the_smallest_profile_that_takes_it(
    length: int, number: int, opened: tuple[Engine, Double]
) -> None:
    engine, double = opened
    engine.run(ids_of(2, length), ["logits"])
    chosen = [call for call in double.calls if "set_optimization_profile_async" in call]
    assert chosen == ([f"IExecutionContext.set_optimization_profile_async({number}, 7)"] if number else [])


def test_a_batch_that_is_too_large_is_run_in_parts(opened: tuple[Engine, Double]) -> None:
    engine, double = opened
    (found,) = engine.run(ids_of(600, 3), ["logits"])
    assert found.shape == (600, 2)
    assert sum("execute_async_v3" in call for call in double.calls) == 2
    (last,) = engine.run(ids_of(600, 3), ["logits"])
    np.testing.assert_array_equal(found, last)


def test_a_text_that_is_too_long_is_refused(opened: tuple[Engine, Double]) -> None:
    with pytest.raises(InputError, match="at most 128 tokens, and a text has 129"):
        opened[0].run(ids_of(1, 129), ["logits"])


# --- batches that stay on the GPU -------------------------------------------------------------------------------------


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("attention", ["decomposed", "native"])
@pytest.mark.parametrize("version", ["v10.14", "v11.1"])
def test_a_bound_batch_runs_again_and_takes_others_of_its_shape(
    version: str, attention: str, graphs: bool, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    double = install(Double(version=version))
    path = TARGET.write_model(lowered(tiny_classifier, attention), tmp_path)
    one, other, wider = ids_of(2, 40), ids_of(2, 40, seed=1), ids_of(3, 70)
    with open_engine(path, graphs=graphs) as engine:
        expected = [engine.run(batch, ["logits"]) for batch in (one, other, wider)]
        first, second = engine.bind(one, ["logits"]), engine.bind(wider, ["logits"])
        double.calls.clear()
        for bound in (first, second, first):
            bound.run()
        assert double.calls == (["cudaGraphLaunch"] * 3 if graphs else RUNS)
        np.testing.assert_array_equal(first.read(), expected[0])
        engine.run(wider, ["logits"])  # has a context of its own, so it spoils no graph
        first.write(engine.feeds(other))
        first.run()
        second.run()
        np.testing.assert_array_equal(first.read(), expected[1])
        np.testing.assert_array_equal(second.read(), expected[2])
        first.close()
        second.close()
    assert not double.cuda.memory and not double.cuda.streams and not double.cuda.graphs, "what nobody freed"


RUNS = [f"IExecutionContext.execute_async_v3({stream})" for stream in (8, 9, 8)]


def test_a_bound_batch_refuses_another_shape(opened: tuple[Engine, Double]) -> None:
    engine = opened[0]
    assert isinstance(engine, TensorrtEngine)
    bound = engine.bind(ids_of(2, 5), ["logits"])
    with pytest.raises(InputError, match=r"input_ids has shape \[2, 6\] and the memory bound for it \[2, 5\]"):
        bound.write(engine.feeds(ids_of(2, 6)))
    with pytest.raises(InputError, match="at most 512 texts of this length at once, and the batch has 513"):
        engine.bind(ids_of(513, 5), ["logits"])


@pytest.mark.parametrize("attention", ["packed", "plugin"])
def test_an_engine_whose_shapes_depend_on_the_texts_has_no_graph(
    attention: str, install: Install, wide: TinyModel, tmp_path: Path
) -> None:
    double = install(Double(version="v11.1"))
    engine = open_engine(TARGET.write_model(lowered(wide, attention), tmp_path), graphs=True)
    expected = engine.run(wide.batch, ["logits"])
    with pytest.raises(EnvironmentLackError, match=r"does not run as a CUDA graph .* open it without graphs"):
        engine.bind(wide.batch, ["logits"])
    assert not double.cuda.graphs
    np.testing.assert_array_equal(engine.run(wide.batch, ["logits"]), expected)
    engine.close()
    assert not double.cuda.memory and not double.cuda.streams


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
        TARGET.write_model(lowered(tiny_classifier), tmp_path)
    assert "\n" not in str(caught.value) and "of no interest" not in str(caught.value)
    assert not (tmp_path / "model.plan").exists()


def test_a_file_that_is_not_for_native_is_refused(install: Install, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    install(Double())
    model = lowered(tiny_classifier)
    model.metadata_props["bertc.attention"] = "native"
    with pytest.raises(InputError, match=r"no value layer\.0|no value attention|export"):
        for node in model.graph:
            node.name = f"other {node.name}"
        TARGET.write_model(model, tmp_path)


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
        ("v11.1", "packed", ""),
        ("v11.1", None, ""),
        ("v11.1", "plugin", ""),
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
        ((7, 0), "plugin", r"--attention plugin has INT8 kernels for 7\.5, 8\.0"),
        ((12, 1), "plugin", r"NVIDIA Old has compute capability 12\.1"),
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
    for call in (lambda: TARGET.engine_from_path(path, threads=1), lambda: TARGET.optimized_from_path(path)):
        with pytest.raises(InputError, match="plan file is not compatible; an engine runs only on the GPU model"):
            call()
    path.unlink()
    with pytest.raises(InputError, match=r"model\.plan cannot be opened by TensorRT: No such file"):
        TARGET.engine_from_path(path, threads=1)


# --- what is read back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention, fused", [("decomposed", 0), ("native", 2), ("packed", 2), ("plugin", 2)])
@pytest.mark.parametrize("version", ["v10.14", "v11.1"])
def test_the_inspector_s_layers_are_counted(
    version: str,
    attention: str,
    fused: int,
    install: Install,
    tiny_classifier: TinyModel,
    wide: TinyModel,
    tmp_path: Path,
) -> None:
    skip_before(version, attention)
    install(Double(version=version))
    model = lowered(wide if attention == "plugin" else tiny_classifier, attention)
    found = TARGET.optimized_from_path(TARGET.write_model(model, tmp_path))
    assert (found.gemms_int8, found.gemms_float, found.fused["attention"]) == (12, 0, fused)
    assert found.fused["int8_attention"] == 2
    assert found.fused.items() >= TARGET.expected_fusion(tiny_scheme("1"), 2).items()
    assert found.bound_to == {"device": "NVIDIA Double", "driver": "CUDA 13.0"}
    assert found.runtime.startswith("tensorrt 1")


def layer(name: str, nodes: str, kind: str = "Myelin", types: str = "Half", kernel: str = "") -> dict[str, object]:
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes.split())
    inputs = [{"Name": "x", "Format/Datatype": types}]
    return {"Name": name, "LayerType": kind, "Metadata": metadata, "Inputs": inputs, "TacticName": kernel}


def read(*layers: object) -> tuple[dict[str, int], int, int]:
    text = json.dumps({"Layers": layers})
    found = optimized_from_json(text, runtime="tensorrt 11", requirement="", bound_to={})
    return dict(found.fused), found.gemms_int8, found.gemms_float


def test_a_fused_layer_counts_for_all_that_it_computes() -> None:
    fused, int8, floats = read(
        layer(
            "qkv", "layer.0.query_gemm layer.0.key_gemm layer.0.value_gemm layer.0.query", kernel="sm90_gemm_i8i8_i32"
        ),
        layer("mha", "layer.0.scores layer.0.probs layer.0.context_heads", types="Int8", kernel="_gemm_mha_v2"),
        layer("norm", "layer.0.hidden encoder.output layer.0.hidden.codes"),
        layer("fc", "layer.0.intermediate_gemm layer.0.gelu", kernel="sm80_xmma_sparse_gemm_f16"),
        layer("out", "layer.0.output_gemm", kind="Reformat", types="Int8"),
    )
    assert (int8, floats) == (3, 1)
    assert fused == {"attention": 1, "int8_attention": 1, "layer_norm": 2, "sparse_gemms": 1}


def test_an_attention_in_two_layers_is_not_fused() -> None:
    fused, *_ = read(layer("one", "layer.0.scores", types="Int8"), layer("two", "layer.0.context_heads"))
    assert fused["attention"] == fused["int8_attention"] == 0


def test_two_products_in_int8_count_though_they_are_not_fused() -> None:
    one, two = layer("one", "layer.0.scores", types="Int8"), layer("two", "layer.0.context_heads", kernel="imma")
    fused, *_ = read(one, two)
    assert (fused["attention"], fused["int8_attention"]) == (0, 1)


def test_an_attention_layer_in_float_is_fused_and_not_int8() -> None:
    fused, *_ = read(layer("layer.3.attention", "", kind="Attention"))
    assert (fused["attention"], fused["int8_attention"]) == (1, 0)
    assert read(layer("layer.3.attention_gemm", "", kind="gemm"))[0]["attention"] == 0


@pytest.mark.parametrize("layers", [[], ["a name alone"]])
def test_an_engine_without_details_is_refused(layers: list[str]) -> None:
    with pytest.raises(InputError, match="without the details"):
        read(*layers)


@pytest.mark.parametrize(
    "lengths, longest, borders", [((), 512, [512]), ((9, 9, 9), 128, [32, 128]), ((400,) * 9, 384, [384])]
)
def test_profiles_follow_the_lengths(lengths: tuple[int, ...], longest: int, borders: list[int]) -> None:
    profiles = profiles_from_lengths(lengths, longest)
    assert [profile.length[2] for profile in profiles] == borders
    assert all(profile.batch[2] * profile.length[2] <= 16384 for profile in profiles)
    assert profiles_from_text(text_from_profiles(profiles)) == profiles


# --- a whole build ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version, attention", [("v10.16", "native"), ("v11.1", "plugin")])
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
    monkeypatch.setattr("tests.tensorrt_double.said", lambda int8, version: {"Format/Datatype": "Half"})
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", "tensorrt", *options)
    assert called.code == 3 and "INT8 GEMMs: 0 of 12" in called.err
    assert not (tmp_path / "out").exists()
