"""Exported graphs as checkpoints: every tensor as the model had it, and a refusal where that cannot be known."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from bertc.checkpoint.onnx_file import OnnxFile, graph_file_from_folder
from bertc.checkpoint.read import checkpoint_from_path
from bertc.errors import InputError
from tests.tiny_families import write_tiny_family

EXPORTED = ("bert", "distilbert", "mpnet", "albert", "modernbert")
IDS = np.arange(1, 9, dtype=np.int64)[None]


def export(checkpoint: Path, to: Path) -> Path:
    """Export a checkpoint's classifier as torch does, and return the graph's path."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager").eval()
    ids = torch.from_numpy(IDS)
    to.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = ["input_ids", "attention_mask"]
        torch.onnx.export(model, (ids, torch.ones_like(ids)), str(to), input_names=names, dynamo=False)
    return to


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A family's checkpoint and its graph, written once."""
    found: dict[str, tuple[Path, Path]] = {}

    def write(family: str) -> tuple[Path, Path]:
        if family not in found:
            folder = tmp_path_factory.mktemp(family)
            checkpoint = write_tiny_family(folder / "checkpoint", family)
            found[family] = checkpoint, export(checkpoint, folder / "model.onnx")
        return found[family]

    return write


@pytest.fixture
def bert(written: Callable[[str], tuple[Path, Path]]) -> tuple[Path, Path]:
    return written("bert")


def folder_of(bert: tuple[Path, Path], path: Path, *, place: str = "model.onnx", graph: Path | None = None) -> Path:
    """Return a folder with a checkpoint's small files, and a graph in the place of the weights."""
    checkpoint, exported = bert
    shutil.copytree(checkpoint, path, ignore=shutil.ignore_patterns("*.safetensors"))
    (path / place).parent.mkdir(exist_ok=True)
    shutil.copyfile(graph or exported, path / place)
    return path


def stored_in(checkpoint: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return load_file(checkpoint / "model.safetensors")


@pytest.mark.parametrize("family", EXPORTED)
def test_every_tensor_is_the_model_s(family: str, written: Callable[[str], tuple[Path, Path]]) -> None:
    checkpoint, graph = written(family)
    found, expected = OnnxFile(graph), stored_in(checkpoint)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found.shape(name) == values.shape, name
        assert_array_equal(found.array(name), values, err_msg=name)
    assert found.notes == ("the weights were read from the exported graph model.onnx",)


def test_equal_tensors_that_torch_stores_once_are_all_there(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    from safetensors.numpy import save_file

    checkpoint = shutil.copytree(bert[0], tmp_path / "equal")
    weights = stored_in(checkpoint)
    biases = [name for name in weights if name.endswith("query.bias")]
    save_file(weights | {name: np.zeros_like(weights[name]) for name in biases}, checkpoint / "model.safetensors")
    graph = export(checkpoint, tmp_path / "model.onnx")
    assert len([value for value in ir.load(graph).graph.initializers if value in biases]) < len(biases)
    found = OnnxFile(graph)
    assert len(biases) == 2 and all(not found.array(name).any() for name in biases)


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx", "bert-tiny.onnx"])
def test_a_folder_with_a_graph_is_a_checkpoint(place: str, tmp_path: Path, bert: tuple[Path, Path]) -> None:
    found = checkpoint_from_path(folder_of(bert, tmp_path / "folder", place=place))
    expected = checkpoint_from_path(bert[0])
    assert found.parameters == expected.parameters and found.head == expected.head
    for name in expected.weights:
        assert_array_equal(found.weights.array(name), expected.weights.array(name))
    assert f"exported graph {Path(place).name}" in " ".join(found.notes)
    assert not any("exported graph" in note for note in expected.notes)


def test_weights_go_before_a_graph(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    checkpoint = shutil.copytree(bert[0], tmp_path / "both")
    (checkpoint / "model.onnx").write_bytes(b"no graph at all")
    assert checkpoint_from_path(checkpoint).digest == checkpoint_from_path(bert[0]).digest


def test_weights_beside_the_graph_are_found(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    folder = folder_of(bert, tmp_path / "folder")
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    found, expected = checkpoint_from_path(folder), stored_in(bert[0])
    assert folder / "model.onnx_data" in found.weights.files
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.weight"):
        assert_array_equal(found.weights.array(name), expected[f"bert.{name}"])
    (folder / "model.onnx_data").unlink()
    with pytest.raises(InputError, match=r"keeps weights in model\.onnx_data, which is missing"):
        checkpoint_from_path(folder)


def quantized(graph: Path, to: Path, form: str) -> Path:
    """Quantize a graph as onnxruntime does."""
    from onnxruntime import quantization

    class Texts(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"input_ids": IDS, "attention_mask": np.ones_like(IDS)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    kind, _, detail = form.partition(" ")
    if kind == "dynamic":
        weight = quantization.QuantType.QUInt8 if detail == "unsigned" else quantization.QuantType.QInt8
        quantization.quantize_dynamic(graph, to, per_channel=detail == "per channel", weight_type=weight)
    else:
        form_of = {"operators": quantization.QuantFormat.QOperator}.get(detail, quantization.QuantFormat.QDQ)
        quantization.quantize_static(graph, to, Texts(), per_channel=detail == "per channel", quant_format=form_of)
    return to


@pytest.mark.parametrize("form", ["dynamic", "dynamic per channel", "dynamic unsigned", "static", "static per channel"])
def test_int8_becomes_float_again(form: str, tmp_path: Path, bert: tuple[Path, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = quantized(bert[1], tmp_path / "model.onnx", form)
    found, expected = OnnxFile(graph), stored_in(bert[0])
    assert set(found) == set(expected)
    for name, values in expected.items():
        step = 2 * np.abs(values).max() / 254
        assert_allclose(found.array(name), values, atol=1.01 * step, rtol=0, err_msg=name)
    matrix = found.array("bert.encoder.layer.0.output.dense.weight")
    assert len(np.unique(matrix[0] if "channel" in form else matrix)) <= 256
    assert "were quantized and became floats again" in found.notes[1]


def test_a_graph_in_a_runtime_s_own_operators_is_refused(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = quantized(bert[1], tmp_path / "model.onnx", "static operators")
    with pytest.raises(
        InputError, match="was rewritten for ONNX Runtime: its QGemm holds weights in a form of its own"
    ):
        OnnxFile(graph)


def changed(bert: tuple[Path, Path], to: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(bert[1])
    change(model.graph)
    onnx.save(model, to)
    return to


def without_names(graph: Any) -> None:
    for node in graph.node:
        node.name = ""
        if node.op_type == "Add":
            node.input.reverse()  # which is no fault: a bias may stand first
    for number, tensor in enumerate(graph.initializer):
        if tensor.name.endswith("query.bias"):
            for node in graph.node:
                for place, name in enumerate(node.input):
                    if name == tensor.name:
                        node.input[place] = f"bias_{number}"
            tensor.name = f"bias_{number}"


def test_a_matrix_whose_name_nothing_tells_is_refused(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    graph = changed(bert, tmp_path / "model.onnx", without_names)
    with pytest.raises(InputError, match="neither a bias nor its own name says which matrix of the model that is"):
        OnnxFile(graph)


def one_bias_for_two(graph: Any) -> None:
    """Let the key's product have the query's bias, so that its name is the query's."""
    names = [f"bert.encoder.layer.0.attention.self.{part}.bias" for part in ("query", "key")]
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == names[1]:
                node.input[place] = names[0]


def test_two_matrices_of_one_name_are_refused(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    graph = changed(bert, tmp_path / "model.onnx", one_bias_for_two)
    with pytest.raises(InputError, match=r"two different matrices would be .*query\.weight of the model"):
        OnnxFile(graph)


def damaged(folder: Path) -> Iterator[tuple[str, bytes]]:
    whole = (folder / "model.onnx").read_bytes()
    yield "cannot be read as ONNX", whole[: len(whole) // 2]
    yield "cannot be read as ONNX", b"\xff" * 64
    yield "holds no weights", b""


@pytest.mark.parametrize("number", range(3), ids=["half of it", "no graph", "empty"])
def test_a_damaged_graph_is_refused(number: int, tmp_path: Path, bert: tuple[Path, Path]) -> None:
    folder = folder_of(bert, tmp_path / "folder")
    told, content = list(damaged(folder))[number]
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(folder)


def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, bert: tuple[Path, Path]) -> None:
    def point_outside(graph: Any) -> None:
        tensor = next(tensor for tensor in graph.initializer if len(tensor.dims) == 2)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../elsewhere")

    (tmp_path / "elsewhere").write_bytes(bytes(4096))
    folder = folder_of(bert, tmp_path / "folder", graph=changed(bert, tmp_path / "changed.onnx", point_outside))
    with pytest.raises(InputError, match=r"elsewhere"):
        checkpoint_from_path(folder)


def test_which_graph_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.onnx", "a.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"several graphs \(a\.onnx, b\.onnx\) and no model\.onnx; keep one"):
        graph_file_from_folder(tmp_path)
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/model.onnx", "model.onnx"):
        (tmp_path / name).touch()
        assert graph_file_from_folder(tmp_path) == tmp_path / name
    (tmp_path / "bertc.json").touch()
    with pytest.raises(InputError, match="is an artefact that bertc built"):
        graph_file_from_folder(tmp_path)
