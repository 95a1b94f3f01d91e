"""What ONNX Runtime really runs, read from its own optimized model, and that it runs without bertc."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.errors import EnvironmentLackError
from bertc.export.embeddings import store_embeddings
from bertc.export.ort import lower as ort
from bertc.ir.sites import Role
from bertc.runtime.optimized import Optimized, check_fusion
from bertc.runtime.ort.inference_session import optimized_from_path
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, TinyModel, engine_scheme, quantized, run_engine, tiny_model, tiny_scheme

FUSED = {"attention": LAYERS, "layer_norm": 1 + 2 * LAYERS, "gelu": LAYERS}


def written(model: TinyModel, folder: Path, mode: str | None, granularity: str | None = None, *kept: str) -> Path:
    graph = model.graph
    if mode is not None:
        graph = quantized(model, engine_scheme(tiny_scheme(mode, granularity, keep_float=kept))).graph
    path = folder / "model.onnx"
    ir.save(ort.lower_graph(store_embeddings(graph).graph), path)
    return path


def fused(found: Optimized) -> dict[str, int]:
    return {name: found.fused[name] for name in FUSED}


@pytest.mark.parametrize(
    "mode, granularity, requantized", [("1", None, 0), ("2", None, 3), ("2", "channel", 3), ("3", None, 3)]
)
@pytest.mark.parametrize("task", OUTPUTS)
def test_all_products_of_every_layer_run_in_int8(
    mode: str, granularity: str | None, requantized: int, task: str, tiny_of: TinyOf, tmp_path: Path
) -> None:
    found = optimized_from_path(written(tiny_of(task), tmp_path, mode, granularity))
    assert (found.gemms_int8, found.gemms_float) == (6 * LAYERS, 0)
    assert fused(found) == FUSED
    assert found.operators["QAttention"] == LAYERS
    assert found.operators.get("QLinearMatMul", 0) == requantized * LAYERS
    assert found.operators.get("MatMulIntegerToFloat", 0) == (3 - requantized) * LAYERS
    assert not {"Attention", "MultiHeadAttention", "Softmax", "Erf"} & found.operators.keys()
    check_fusion(found, expected=FUSED, gemms_int8=6 * LAYERS)


def test_the_float_model_has_fused_attention_and_no_int8(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    found = optimized_from_path(written(tiny_classifier, tmp_path, None))
    assert (found.gemms_int8, found.gemms_float) == (0, 6 * LAYERS)
    assert found.operators["Attention"] == LAYERS and fused(found) == FUSED


@pytest.mark.parametrize(
    "mode, kept, int8, attention",
    [
        ("1", "layer.0", 6, {"QAttention": 1, "Attention": 1}),
        ("1", "hidden", 6, {"Attention": 2}),
        ("1", "layer.1.hidden", 9, {"QAttention": 1, "Attention": 1}),
        ("1", "context", 10, {"QAttention": 2}),
        ("2", "gelu", 10, {"QAttention": 2}),
        ("2", "output_gemm", 12, {"QAttention": 2}),
    ],
)
def test_what_is_kept_in_float_is_counted_as_float(
    mode: str, kept: str, int8: int, attention: dict[str, int], tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    found = optimized_from_path(written(tiny_classifier, tmp_path, mode, None, kept))
    assert (found.gemms_int8, found.gemms_float) == (int8, 6 * LAYERS - int8)
    kinds = ("QAttention", "Attention", "MultiHeadAttention")
    assert {kind: found.operators[kind] for kind in kinds if kind in found.operators} == attention
    assert fused(found) == FUSED


@pytest.mark.parametrize("activation, kind", [("gelu", "Gelu"), ("gelu_new", "FastGelu"), ("relu", "Relu")])
def test_the_activation_is_one_node(activation: str, kind: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "bert", config={"hidden_act": activation})
    found = optimized_from_path(written(model, tmp_path, "1"))
    assert found.fused["gelu"] == LAYERS
    assert kind in found.operators or "BiasGelu" in found.operators


@pytest.mark.parametrize(
    "change", [{"gemms_int8": 11}, {"fused": {"attention": 1, "layer_norm": 5, "gelu": 2}}], ids=["gemm", "attention"]
)
def test_a_fusion_that_fell_apart_is_refused(
    change: dict[str, object], tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    found = optimized_from_path(written(tiny_classifier, tmp_path, "1"))
    with pytest.raises(EnvironmentLackError, match=r"(INT8 GEMMs|attention): \d+ of \d+"):
        check_fusion(replace(found, **change), expected=FUSED, gemms_int8=12)  # type: ignore[arg-type]


def test_roles_of_the_dialect_are_those_inside_attention() -> None:
    inside = {Role.QUERY_GEMM, Role.KEY_GEMM, Role.VALUE_GEMM, Role.QUERY, Role.KEY, Role.VALUE}
    assert set(ort.FLOAT_ROLES) == inside | {Role.SCORES, Role.PROBS}
    assert all(len(reason) > 20 for reason in ort.FLOAT_ROLES.values())


BARE = """
import json, sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds = {name: numpy.array(ids, numpy.int64) for name, ids in json.loads(sys.argv[2]).items()}
assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
assert {each.type for each in session.get_inputs()} == {"tensor(int64)"}
outputs = session.run(None, feeds)
assert not [name for name in sys.modules if name.split(".")[0] in ("bertc", "onnx_ir", "torch", "transformers")]
print(json.dumps([output.tolist() for output in outputs]))
"""


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_a_bare_session_runs_the_file(
    mode: str, granularity: str | None, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path = written(tiny_classifier, tmp_path, mode, granularity)
    batch = tiny_classifier.batch
    feeds = batch.feeds(["input_ids", "attention_mask", "token_type_ids"])
    command = [sys.executable, "-I", "-c", BARE, str(path), json.dumps({name: f.tolist() for name, f in feeds.items()})]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (expected,) = run_engine(ir.load(path), batch, ["logits"])
    np.testing.assert_allclose(np.array(json.loads(done.stdout)[0]), expected, atol=1e-5)


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_no_products_share_their_weights_or_zero_points(
    mode: str, granularity: str | None, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    """Those ONNX Runtime 1.32 cannot make unsigned on x86 without VNNI, so that their sums would be exact."""
    codes = Counter(
        value.name
        for node in ir.load(written(tiny_classifier, tmp_path, mode, granularity)).graph
        if node.op_type in ("QAttention", "MatMulIntegerToFloat", "QLinearMatMul")
        for value in node.inputs
        if value is not None and value.const_value is not None and value.dtype == ir.DataType.INT8
    )
    assert len(codes) >= 4 * LAYERS and set(codes.values()) == {1}
