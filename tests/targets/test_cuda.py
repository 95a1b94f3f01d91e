"""The targets for NVIDIA GPUs of bertc's own: what they refuse, their files, and a build in Triton's interpreter."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.checkpoint import checkpoint_from_path
from bertc.errors import EnvironmentLackError, InputError
from bertc.export.embeddings import store_embeddings
from bertc.jobs.plan import feature_beyond, scheme_for_target
from bertc.recipe import QuantizationRecipe
from bertc.runtime.cuda import cuda_runtime, library
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.machine.gpu import Driver
from bertc.runtime.plan.kernel_plan import Op
from bertc.runtime.plan.plan_files import read_plan
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.tiny import TinyModel, quantized, tiny_scheme
from tests.tiny_families import write_tiny_family

NAMES = ("cuda", "cuda-fp8", "cuda-float16")
NONE = Driver(cuda=None, gpus=(), lack="there is no NVIDIA driver (libcuda.so.1 is missing)")
FILES = ["model.onnx", "native.json", "native.safetensors"]
RELATIVE = ("modernbert", "eurobert", "nomic-bert", "deberta-v2", "mpnet", "xlnet")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages, no interpreter, and no GPU."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(library, "find_spec", lambda name: name)
    monkeypatch.setattr(library, "driver_of_machine", lambda: NONE)


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_without_a_gpu_is_refused_before_any_text_is_read(
    name: str, no_gpu: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", name, *options)
    assert called.code == 3 and "have no GPU: there is no NVIDIA driver" in called.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", RELATIVE)
def test_relative_positions_are_no_reason_to_refuse(name: str, family: str, tmp_path: Path) -> None:
    path = write_tiny_family(tmp_path / family, family, task="feature-extraction")
    architecture = checkpoint_from_path(path).architecture
    assert feature_beyond(target_from_name(name), architecture) is None
    assert (feature_beyond(target_from_name("tensorrt"), architecture) is None) is (family == "mpnet")


def test_heads_of_other_widths_are_named(tiny_classifier: TinyModel) -> None:
    architecture = tiny_classifier.checkpoint.architecture
    target = target_from_name("cuda")
    assert feature_beyond(target, architecture) is None
    assert feature_beyond(target, replace(architecture, head_width=24)) == "heads of 24"
    assert feature_beyond(target_from_name("native"), replace(architecture, head_width=24)) is None


@pytest.mark.parametrize("mode", ["2", "3"])
def test_fp8_refuses_modes_2_and_3_with_the_reason(mode: str) -> None:
    chosen = QuantizationRecipe(mode=mode)
    with pytest.raises(InputError, match=rf"cuda-fp8 takes no INT8 mode {mode}: residuals .* use mode 1"):
        scheme_for_target(chosen, target_from_name("cuda-fp8"), layers=2)
    found = scheme_for_target(chosen, target_from_name("cuda"), layers=2)
    assert found is not None and found.mode.name == mode and not found.one_sided
    assert scheme_for_target(QuantizationRecipe(mode="1"), target_from_name("cuda-fp8"), layers=2) is not None


def test_float16_takes_no_int8(bertc: Bertc, classifier: Path, tmp_path: Path) -> None:
    called = bertc("export", classifier, "-o", tmp_path / "m.onnx", "--target", "cuda-float16", "--int8-mode", "1")
    assert called.code == 2 and "it is FP16; the target cuda is its INT8" in called.err


def test_files_are_written_without_a_gpu_and_count_what_is_called(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    target = target_from_name("cuda")
    stored = replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph)
    scheme = tiny_scheme("1", keep_float=("layer.0.context",)).without_roles(frozenset(target.float_roles))
    path = target.runtime.write_model(target.onnx_from_graph(quantized(stored, scheme).graph), tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == FILES
    found = target.runtime.optimized_from_path(path)
    assert found.fused == target.expected_fusion(scheme, 2) and (found.gemms_int8, found.gemms_float) == (11, 1)
    assert found.fp16_gemms == ("layer.0.attention_sum",) and set(found.fp16_gemms) < set(found.float_gemms or ())


def test_what_there_is_no_kernel_for_is_refused_where_the_plan_is_made(tmp_path: Path, int8_graph: Any) -> None:
    target = target_from_name("cuda")
    with pytest.raises(InputError, match="no kernel for codes with a zero point"):
        target.runtime.write_model(target.onnx_from_graph(int8_graph), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def int8_graph(tiny_classifier: TinyModel) -> Any:
    """A graph that the target is never given: codes with zero points."""
    scheme = replace(tiny_scheme("1"), one_sided=True).without_roles(frozenset(FLOAT_ROLES))
    return quantized(replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph), scheme).graph


def test_an_engine_without_a_gpu_says_so(no_gpu: None, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLackError, match="have no GPU"):
        target_from_name("cuda").runtime.engine_from_path(tmp_path / "native.json", threads=1)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Triton on a GPU or in its interpreter, where times mean nothing."""
    if find_spec("triton") is None:
        pytest.skip("needs Triton (extra triton or cuda-native)")
    import torch

    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("bertc.jobs.build.time_beside_float", lambda *_, **__: ())


def built(bertc: Bertc, model: Path, rows: Path, tmp_path: Path, name: str) -> Path:
    """Build a model of few texts, and return the artefact."""
    few, out = tmp_path / "few.tsv", tmp_path / "out"
    few.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:9]), encoding="utf-8")
    options = ("--calibration-data", rows, "--validation-data", few, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", model, "-o", out, "--target", name, *options)
    assert called.code == 0, called.err
    return out


@pytest.mark.triton
@pytest.mark.parametrize("name", ["cuda"])
def test_a_build_in_the_interpreter(
    name: str, interpreter: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    import torch

    out = built(bertc, classifier, rows, tmp_path, name)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert set(FILES) <= set(verify_artefact(out).files) and "bertc " in report["engine"]["runtime"]
    assert "triton" in report["engine"]["runtime"] and "was executed on one GPU" in report["engine"]["note"]
    assert (report["quantization"]["gemms_int8"], report["quantization"]["gemms_float"]) == (12, 4)
    assert bertc("predict", out, "--text", "good film").code == 0
    assert not (tmp_path / "cache" / "bertc" / cuda_runtime.TUNING).exists() or torch.cuda.is_available()
    (out / "native.safetensors").unlink()
    assert bertc("predict", out, "--text", "good film").code == 2


@pytest.mark.triton
@pytest.mark.parametrize("name", ["cuda", "cuda-float16"])
def test_a_model_of_rotary_positions_is_built_too(
    name: str, interpreter: None, bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    out = built(bertc, write_tiny_family(tmp_path / "model", "modernbert"), rows, tmp_path, name)
    plan, _ = read_plan(out / "native.json")
    assert [step.near for step in plan.steps if step.op is Op.ATTENTION] == [0, 5, 0]
    assert bertc("predict", out, "--text", "good film").code == 0
