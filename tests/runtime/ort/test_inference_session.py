"""Opening sessions, and what is read back from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.ort.inference_session import open_session, optimized_from_path, session_options
from tests.tiny import TinyModel


def test_bytes_and_files_open_to_the_same_answers(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    model = ort.lower_graph(tiny_classifier.graph)
    path = tmp_path / "model.onnx"
    ir.save(model, path)
    answers = []
    for source in (path, ir.to_proto(model).SerializeToString()):
        for threads in (1, 0):
            with open_session(source, threads=threads) as engine:
                answers += engine.run(tiny_classifier.batch, ["logits"])
    for found in answers:
        assert found.shape == (48, 2)
        np.testing.assert_allclose(found, answers[0], atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x08"])
def test_what_is_no_model_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.onnx cannot be opened by onnxruntime") as caught:
        open_session(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="the built model cannot be opened"):
        open_session(content)


def test_a_model_cut_in_half_is_refused(tiny_classifier: TinyModel) -> None:
    content = ir.to_proto(ort.lower_graph(tiny_classifier.graph)).SerializeToString()
    with pytest.raises(InputError, match="cannot be opened"):
        open_session(content[: len(content) // 2])


def test_operators_are_those_of_the_optimized_model(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    ir.save(ort.lower_graph(tiny_classifier.graph), path)
    found = optimized_from_path(path)
    before = {node.op_type for node in ir.load(path).graph}
    assert "Attention" in found.operators and found.operators["Attention"] == 2
    assert before - found.operators.keys()  # it is not our own writer's list
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def product(rng: np.random.Generator, *, shared: bool = False) -> tuple[bytes, Any]:
    """Write two integer products of the largest codes, perhaps by the same weights; return the second's values."""
    codes = np.full((1, 64), 255, np.uint8)
    weights = [rng.integers(100, 128, (64, 8)).astype(np.int8) for _ in range(2)]
    read = ["weight", "weight"] if shared else ["weight", "other"]
    nodes = [onnx.helper.make_node("MatMulInteger", ["codes", name], [f"y{n}"]) for n, name in enumerate(read)]
    graph = onnx.helper.make_graph(
        nodes,
        "products",
        [onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.UINT8, codes.shape)],
        [onnx.helper.make_tensor_value_info(f"y{n}", onnx.TensorProto.INT32, [1, 8]) for n in range(2)],
        [onnx.numpy_helper.from_array(each, name) for each, name in zip(weights, ["weight", "other"], strict=True)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString(), codes.astype(np.int32) @ weights[0 if shared else 1]


def last_of(model: bytes, *, exact: bool) -> Any:
    """Run a model of `product` on the largest codes, and return the second product."""
    options = session_options(1, exact=exact)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"codes": np.full((1, 64), 255, np.uint8)})[1]


def test_sums_of_the_largest_codes_are_exact_on_every_cpu() -> None:
    model, right = product(np.random.default_rng(0))
    assert (last_of(model, exact=True) == right).all()
    if cpu_features().saturates:
        assert (last_of(model, exact=False) != right).any(), "ONNX Runtime's own default"


def test_sums_with_shared_weights_are_exact_too(capfd: pytest.CaptureFixture[str]) -> None:
    model, right = product(np.random.default_rng(0), shared=True)
    with open_session(model, threads=1) as engine:
        found = engine._session.run(None, {"codes": np.full((1, 64), 255, np.uint8)})
    assert (found[1] == right).all() and capfd.readouterr().err == ""
