"""Opening sessions, and what is read back from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.runtime.ort.inference_session import open_session, optimized_from_path
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
