"""The three targets on ONNX Runtime's CPU."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bertc.errors import InputError
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.ort.inference_session import optimized_from_path
from bertc.targets import target_from_name
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, TinyModel, quantized, rms, tiny_scheme

INT8_TARGETS = ("ort-cpu", "ort-cpu-dynamic")


def cpu(machine: str, *features: str, known: bool = True) -> Cpu:
    return Cpu(model="Old CPU", machine=machine, features=frozenset(features), cores=2, features_known=known)


@pytest.mark.parametrize("name", INT8_TARGETS)
@pytest.mark.parametrize(
    "machine",
    [
        cpu("x86_64", "avx2", "avx512f"),
        cpu("AMD64", "avx2"),
        cpu("x86_64", "avx2", "avx512_vnni"),
        cpu("x86_64", "avx_vnni"),
        cpu("x86_64", "amx_int8"),
        cpu("aarch64", "asimd"),
        cpu("x86_64", known=False),
    ],
    ids=["no VNNI", "no VNNI on Windows", "avx512", "avx", "amx", "arm", "unknown"],
)
def test_any_machine_is_taken(name: str, machine: Cpu) -> None:
    target_from_name(name).check_machine(machine)
    assert not target_from_name(name).demands


def test_float_runs_anywhere() -> None:
    target_from_name("float").check_machine(cpu("x86_64"))


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_float_target_is_the_float_graph(task: str, tiny_of: TinyOf, tmp_path: Path) -> None:
    model = tiny_of(task)
    target = target_from_name("float")
    path = target.runtime.write_model(target.onnx_from_graph(model.graph), tmp_path)
    batch = model.batch
    name = OUTPUTS[task][0]
    (found,) = target.runtime.engine_from_path(path, threads=1).run(batch, [name])
    difference = np.abs(found - Interpreter(model.graph).run(batch)[name])
    mask = batch.mask.astype(bool)
    assert (difference[mask] if difference.shape[:2] == mask.shape else difference).max() < 1e-4


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_dynamic_target_quantizes_the_encoder_and_spares_the_head(
    task: str, tiny_of: TinyOf, tmp_path: Path
) -> None:
    model = tiny_of(task)
    target = target_from_name("ort-cpu-dynamic")
    path = target.runtime.write_model(target.onnx_from_graph(model.graph), tmp_path)
    found = optimized_from_path(path)
    assert (found.gemms_int8, found.gemms_float) == (6 * LAYERS, 0)
    head = {
        **dict.fromkeys(("sequence-classification", "text-ranking", "fill-mask", "sparse-embedding"), 2),
        **dict.fromkeys(("token-classification", "question-answering", "late-interaction"), 1),
        "feature-extraction": 0,
    }
    floats = sum(found.operators.get(kind, 0) for kind in ("MatMul", "Gemm", "FusedMatMul", "FusedGemm"))
    assert floats == head[task]
    name = OUTPUTS[task][0]
    exact = Interpreter(model.graph).run(model.batch)[name]
    (answers,) = target.runtime.engine_from_path(path, threads=1).run(model.batch, [name])
    mask = model.batch.mask.astype(bool)
    if exact.shape[:2] == mask.shape:
        exact, answers = exact[mask], answers[mask]
    assert 0 < rms(answers - exact) < 0.1 * rms(exact)
    assert re.search("depends on the texts beside it", target.note)


def test_the_static_target_takes_the_quantized_graph(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    target = target_from_name("ort-cpu")
    scheme = tiny_scheme("1").without_roles(frozenset(target.float_roles))
    path = target.runtime.write_model(target.onnx_from_graph(quantized(tiny_classifier, scheme).graph), tmp_path)
    (found,) = target.runtime.engine_from_path(path, threads=1).run(tiny_classifier.batch, ["logits"])
    exact = Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"]
    assert 0 < rms(found - exact) < 0.1 * rms(exact)
    with pytest.raises(InputError, match="leave probs and scores in float"):
        target.onnx_from_graph(quantized(tiny_classifier, tiny_scheme("1")).graph)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    for name in ("float", *INT8_TARGETS):
        with pytest.raises(InputError, match="cannot be opened by onnxruntime"):
            target_from_name(name).runtime.engine_from_path(path, threads=1)
        with pytest.raises(InputError, match="cannot be opened by onnxruntime"):
            target_from_name(name).runtime.engine_from_path(tmp_path / "none.onnx", threads=1)
