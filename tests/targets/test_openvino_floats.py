"""The targets `openvino-float` and `openvino-bf16`: what they ask of a machine, and what OpenVINO really runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.errors import EnvironmentLackError
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import BF16_FEATURES, Cpu, cpu_features
from bertc.runtime.openvino import compiled_model as runtime
from bertc.runtime.optimized import INT8_ATTENTION, check_fusion
from bertc.targets import Target, target_from_name
from tests.artefacts import Bertc
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, Array, TinyModel, rms

FLOAT = target_from_name("openvino-float")
BF16 = target_from_name("openvino-bf16")
PRECISIONS = {"openvino-float": "f32", "openvino-bf16": "bf16"}
Answers = Callable[..., Array]


@pytest.fixture(params=PRECISIONS)
def name(request: pytest.FixtureRequest) -> str:
    """Give each target that can run here."""
    found: str = request.param
    pytest.importorskip("openvino", reason="needs the extra openvino")
    if found == "openvino-bf16" and not cpu_features().features & BF16_FEATURES:
        pytest.skip("needs a CPU with BF16 instructions")
    return found


def cpu(*features: str, known: bool = True) -> Cpu:
    return Cpu(model="Old CPU", machine="x86_64", features=frozenset(features), cores=2, features_known=known)


def answers(target_name: str, model: TinyModel, folder: Path, output: str = "logits") -> Array:
    target = target_from_name(target_name)
    path = target.runtime.write_model(target.onnx_from_graph(model.graph), folder)
    engine = target.runtime.engine_from_path(path, threads=1)
    try:
        (found,) = engine.run(model.batch, [output])
        return found
    finally:
        engine.close()


# --- without OpenVINO -------------------------------------------------------------------------------------------------


def test_bf16_asks_for_its_instructions_and_fp32_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "check_installed", lambda: None)
    FLOAT.check_machine(cpu("avx2"))
    with pytest.raises(EnvironmentLackError, match=r"Old CPU has no BF16 .*--target openvino-float"):
        BF16.check_machine(cpu("avx512_vnni", "amx_int8"))
    for found in (cpu("avx512_bf16"), cpu("amx_bf16"), cpu(known=False)):
        BF16.check_machine(found)
    assert set(BF16.demands) == BF16_FEATURES and not FLOAT.demands


@pytest.mark.parametrize("target", [FLOAT, BF16])
def test_both_say_what_to_install(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EnvironmentLackError, match=r'pip install "bertc\[openvino\]"'):
        target.check_machine(cpu("avx512_bf16"))


@pytest.mark.parametrize("target", PRECISIONS)
def test_a_scheme_is_refused(target: str, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    options = ("--target", target, "--int8-mode", "2", "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", *options)
    assert called.code == 2 and "the target openvino is OpenVINO's INT8" in called.err
    assert not list(tmp_path.iterdir())


# --- with OpenVINO ----------------------------------------------------------------------------------------------------


@pytest.mark.openvino
@pytest.mark.parametrize("task", OUTPUTS)
def test_answers_are_those_of_the_float_graph_within_its_precision(
    name: str, task: str, tiny_of: TinyOf, tmp_path: Path
) -> None:
    model = tiny_of(task)
    output = OUTPUTS[task][0]
    exact = Interpreter(model.graph).run(model.batch)[output]
    found = answers(name, model, tmp_path, output)
    mask = model.batch.mask.astype(bool)
    if exact.shape[:2] == mask.shape:
        exact, found = exact[mask], found[mask]
    error = rms(found - exact) / rms(exact)
    if name == "openvino-float":
        assert error < 1e-5
    else:
        assert 1e-5 < error < 2e-2  # BF16 keeps 8 bits: 2^-9 for each rounding


@pytest.mark.openvino
def test_every_gemm_runs_in_the_precision(name: str, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    target = target_from_name(name)
    path = target.runtime.write_model(target.onnx_from_graph(tiny_classifier.graph), tmp_path)
    found = target.runtime.optimized_from_path(path)
    assert (found.gemms_int8, found.gemms_float) == (0, 6 * LAYERS)
    assert found.operators[f"FullyConnected {PRECISIONS[name]}"] >= 6 * LAYERS
    assert found.fused[INT8_ATTENTION] == 0
    check_fusion(found, expected=target.expected_fusion(None, LAYERS), gemms_int8=0)
    with pytest.raises(EnvironmentLackError, match="gelu: 1 of 2"):
        less = replace(found, fused={**found.fused, "gelu": 1})
        check_fusion(less, expected=target.expected_fusion(None, LAYERS), gemms_int8=0)


@pytest.mark.openvino
def test_a_gemm_in_another_precision_is_refused(
    name: str, tiny_classifier: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cpu_features().features & BF16_FEATURES:
        pytest.skip("needs a CPU with BF16, which has two precisions")
    target = target_from_name(name)
    path = target.runtime.write_model(target.onnx_from_graph(tiny_classifier.graph), tmp_path)
    other = "bf16" if name == "openvino-float" else "f32"
    compiled = runtime._compiled
    monkeypatch.setattr(runtime, "_compiled", lambda model, threads, _: compiled(model, threads, other))
    with pytest.raises(EnvironmentLackError, match=f"all GEMMs in {PRECISIONS[name]} here: 12 in .* of 12"):
        target.runtime.optimized_from_path(path)


@pytest.mark.openvino
def test_an_artefact_is_built_verified_and_answers(
    name: str, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--target", name, "--validation-data", rows, "--max-drop", "5%", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", out, *options).code == 0
    assert verify_artefact(out).target == name
    assert bertc("validate", out, "-q").code == 0
    answered = json.loads(bertc("predict", out, "--text", "a film").out)
    assert answered["label"] in ("negative", "positive")
