"""The target `tensorrt` on a real GPU: `make test-tensorrt` runs these and says which of them passed.

Everywhere else they skip. Nobody had run them when they were written.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.artefact.manifest import read_manifest
from bertc.errors import EnvironmentLackError
from bertc.export.engine_options import EngineOptions
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.optimized import check_fusion
from bertc.runtime.tensorrt.gpu_engine import open_engine
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert
from tests.tiny import LAYERS, Array, TinyModel, quantized, rms, run_engine, tiny_model, tiny_scheme

pytestmark = pytest.mark.tensorrt
TARGET, FP8 = (target_from_name(name) for name in ("tensorrt", "tensorrt-fp8"))
SCHEMES = [("1", None), ("2", None), ("2", "channel")]
ATTENTIONS = ("decomposed", "native", "packed", "kernel")
FP8_ATTENTIONS = ("decomposed", "native", "packed")
ROWS = ("input_ids", "token_type_ids", "mask")


@pytest.fixture(autouse=True)
def real(request: pytest.FixtureRequest) -> None:
    """Skip where TensorRT or a GPU is missing, or cannot run the attention that a test asks for."""
    if find_spec("tensorrt") is None or find_spec("cuda") is None:
        pytest.skip("needs the extra tensorrt")
    callspec = getattr(request.node, "callspec", None)
    attention = None if callspec is None else callspec.params.get("attention")
    target = FP8 if "fp8" in request.node.name else TARGET
    try:
        target.check_machine(cpu_features(), attention)
    except EnvironmentLackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A classifier with two heads of size 64, which every kind of attention takes."""
    return tiny_model(tmp_path_factory.mktemp("wide"), hidden=128, heads=2, intermediate=512)


def written(
    model: TinyModel, folder: Path, mode: str, granularity: str | None, attention: str
) -> tuple[Path, ir.Model, ir.Model]:
    """Build an engine; returns its file, the graph it is to compute, and the lowered graph."""
    graph = quantized(model, tiny_scheme(mode, granularity)).graph
    options = EngineOptions(attention=attention, lengths=tuple(each.length for each in model.features), longest=128)
    lowered = TARGET.onnx_from_graph(graph, options)
    return TARGET.runtime.write_model(lowered, folder, cache=folder), graph, lowered


def answers(path: Path, model: TinyModel) -> Array:
    engine = TARGET.runtime.engine_from_path(path, threads=1)
    try:
        (found,) = engine.run(model.batch, ["logits"])
        return found
    finally:
        engine.close()


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_an_engine_is_built_and_as_close_to_float_as_the_file(
    mode: str, granularity: str | None, attention: str, wide: TinyModel, tmp_path: Path
) -> None:
    path, graph, lowered = written(wide, tmp_path, mode, granularity, attention)
    exact, simulated = (Interpreter(each).run(wide.batch)["logits"] for each in (wide.graph, graph))
    (file,) = run_engine(lowered, wide.batch, ["logits"])
    found = answers(path, wide)
    assert rms(found - exact) > 0
    # FP16 between the products flips codes as it does in the file on a CPU; the engine may be no farther off.
    assert rms(found - simulated) <= 2 * max(rms(file - simulated), 0.3 * rms(simulated - exact))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_gemm_runs_in_int8_and_every_norm_is_found(attention: str, wide: TinyModel, tmp_path: Path) -> None:
    path, _, _ = written(wide, tmp_path, "1", None, attention)
    found = TARGET.runtime.optimized_from_path(path)
    check_fusion(found, expected=TARGET.expected_fusion(tiny_scheme("1"), LAYERS), gemms_int8=6 * LAYERS)
    if attention != "decomposed":
        assert found.fused["attention"] == LAYERS


@pytest.mark.parametrize("attention", FP8_ATTENTIONS)
def test_an_fp8_engine_is_fp8_throughout_and_as_close_to_float_as_its_file(
    attention: str, wide: TinyModel, tmp_path: Path
) -> None:
    graph = quantized(wide, tiny_scheme("1")).graph
    options = EngineOptions(attention=attention, lengths=tuple(each.length for each in wide.features), longest=128)
    model = FP8.onnx_from_graph(graph, options)
    path = FP8.runtime.write_model(model, tmp_path, cache=tmp_path)
    (file,) = run_engine(model, wide.batch, ["logits"])
    exact, found = Interpreter(wide.graph).run(wide.batch)["logits"], answers(path, wide)
    assert 0 < rms(found - file) <= 2 * rms(file - exact)
    optimized = FP8.runtime.optimized_from_path(path)
    check_fusion(optimized, expected=FP8.expected_fusion(tiny_scheme("1"), LAYERS), gemms_int8=6 * LAYERS)
    if attention != "decomposed":
        assert optimized.fused["attention"] == LAYERS


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_and_batch_mates_do_not_matter(attention: str, wide: TinyModel, tmp_path: Path) -> None:
    path, _, _ = written(wide, tmp_path, "1", None, attention)
    engine = TARGET.runtime.engine_from_path(path, threads=1)
    batch = wide.batch
    together = engine.run(batch, ["logits"])[0]
    for row in (0, 7):
        length = int(batch.mask[row].sum())
        alone = replace(
            batch,
            input_ids=batch.input_ids[row : row + 1, :length],
            token_type_ids=batch.token_type_ids[row : row + 1, :length],
            mask=batch.mask[row : row + 1, :length],
            order=(0,),
        )
        np.testing.assert_allclose(engine.run(alone, ["logits"])[0][0], together[row], atol=0.05)
    engine.close()


@pytest.mark.parametrize("attention", ("decomposed", "native"))
def test_a_bound_batch_runs_as_a_cuda_graph(attention: str, wide: TinyModel, tmp_path: Path) -> None:
    path, _, _ = written(wide, tmp_path, "1", None, attention)
    with open_engine(path, graphs=True) as engine:
        backwards = replace(wide.batch, **{name: getattr(wide.batch, name)[::-1] for name in ROWS})
        expected = [engine.run(batch, ["logits"])[0] for batch in (wide.batch, backwards)]
        bound = engine.bind(wide.batch, ["logits"])
        for batch, answer in zip((wide.batch, backwards, wide.batch), (*expected, expected[0]), strict=True):
            bound.write(engine.feeds(batch))
            bound.run()
            np.testing.assert_allclose(bound.read()[0], answer, atol=1e-3)
            engine.run(backwards, ["logits"])  # has a context of its own
        bound.close()


@pytest.mark.parametrize("attention", ("packed", "kernel"))
def test_a_packed_engine_has_no_cuda_graph_and_goes_on(attention: str, wide: TinyModel, tmp_path: Path) -> None:
    path, _, _ = written(wide, tmp_path, "1", None, attention)
    with open_engine(path, graphs=True) as engine:
        expected = engine.run(wide.batch, ["logits"])[0]
        with pytest.raises(EnvironmentLackError, match="does not run as a CUDA graph"):
            engine.bind(wide.batch, ["logits"])
        np.testing.assert_allclose(engine.run(wide.batch, ["logits"])[0], expected, atol=1e-3)


def test_sparse_weights_build_and_the_inspector_says_what_was_chosen(wide: TinyModel, tmp_path: Path) -> None:
    graph = quantized(wide, tiny_scheme("1")).graph
    for name, value in graph.graph.initializers.items():
        if name.startswith("layer.") and name.endswith("_gemm.weight") and value.const_value is not None:
            codes = np.array(value.const_value.numpy())
            codes.reshape(-1, 4, codes.shape[1])[:, 2:] = 0
            value.const_value = ir.tensor(codes, name=name)
    found = TARGET.runtime.optimized_from_path(TARGET.runtime.write_model(TARGET.onnx_from_graph(graph), tmp_path))
    assert 0 <= found.fused["sparse_gemms"] <= 6 * LAYERS


def test_timings_make_the_second_build_start_from_the_first(wide: TinyModel, tmp_path: Path) -> None:
    written(wide, tmp_path, "1", None, "decomposed")
    (timings,) = tmp_path.glob("*.timing")
    assert timings.stat().st_size > 0
    written(wide, tmp_path, "1", None, "decomposed")


def test_an_artefact_is_built_bound_asked_and_validated(bertc: Bertc, rows: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_bert(tmp_path / "checkpoint", hidden=128, heads=2)
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", checkpoint, "-o", out, "--target", "tensorrt", *options)
    assert called.code == 0, called.err
    binding = read_manifest(out).binding
    assert binding is not None and binding.runtime.startswith("tensorrt 1")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["quantization"]["gemms_int8"] >= 12
    assert bertc("predict", out, "--text", "good film").code == 0
    assert bertc("validate", out, "--validation-data", rows).code == 0
