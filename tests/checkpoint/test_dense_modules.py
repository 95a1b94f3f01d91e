"""Linear layers behind the pooling: read, computed as torch does, written back, and refused where they are others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.batch import batch_from_features
from bertc.core.head import Projection
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint, parameters_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.fixtures import edit_json, write_json, write_safetensors, write_tiny_dense, write_tiny_sentences
from tests.tiny import random_features

TWO = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
ONE = ("Transformer", "Pooling", "Dense")


def vectors(checkpoint: Checkpoint) -> Any:
    batch = batch_from_features(random_features(6), range(6))
    return Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["sentence_embedding"]


def layer(checkpoint: Checkpoint, x: Any, module: str) -> Any:
    weights = checkpoint.weights
    product = x @ weights.array(f"{module}.linear.weight").T
    return product + weights.array(f"{module}.linear.bias") if f"{module}.linear.bias" in weights else product


def test_one_behind_the_other_and_then_the_length(tmp_path: Path) -> None:
    pooled = vectors(checkpoint_from_path(write_tiny_sentences(tmp_path / "bare", modules=("Transformer", "Pooling"))))
    checkpoint = checkpoint_from_path(write_tiny_sentences(tmp_path / "model", modules=TWO))
    assert checkpoint.head.projections == (
        Projection(folder="2_Dense", sizes=(64, 48), tanh=True),
        Projection(folder="3_Dense", sizes=(48, 32), tanh=True),
    )
    expected = np.tanh(layer(checkpoint, np.tanh(layer(checkpoint, pooled, "2_Dense")), "3_Dense"))
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(vectors(checkpoint), expected, atol=1e-5)


def test_without_bias_and_activation(tmp_path: Path) -> None:
    pooled = vectors(checkpoint_from_path(write_tiny_sentences(tmp_path / "bare", modules=("Transformer", "Pooling"))))
    path = write_tiny_sentences(tmp_path / "model", modules=ONE)
    identity = "torch.nn.modules.linear.Identity"
    write_tiny_dense(path / "2_Dense", (64, 80), bias=False, activation_function=identity)
    checkpoint = checkpoint_from_path(path)
    assert checkpoint.head.projections == (Projection(folder="2_Dense", sizes=(64, 80), bias=False),)
    np.testing.assert_allclose(vectors(checkpoint), layer(checkpoint, pooled, "2_Dense"), atol=1e-5)


def test_the_library_s_default_is_tanh(tmp_path: Path) -> None:
    path = write_tiny_sentences(tmp_path, modules=ONE)
    edit_json(path / "2_Dense" / "config.json", activation_function=None, bias=None)
    assert checkpoint_from_path(path).head.projections == (Projection(folder="2_Dense", sizes=(64, 48), tanh=True),)


@pytest.mark.parametrize(("kept", "width"), [(20, 20), (48, 48), (60, 48)])
def test_what_is_cut_is_cut_behind_it(kept: int, width: int, tmp_path: Path) -> None:
    whole = vectors(checkpoint_from_path(write_tiny_sentences(tmp_path / "whole", modules=ONE)))
    path = write_tiny_sentences(tmp_path / "cut", modules=ONE)
    write_json(path / "config_sentence_transformers.json", {"truncate_dim": kept})
    np.testing.assert_array_equal(vectors(checkpoint_from_path(path)), whole[:, :width])


def test_it_counts_and_is_part_of_the_digest(tmp_path: Path) -> None:
    bare = checkpoint_from_path(write_tiny_sentences(tmp_path / "bare", modules=("Transformer", "Pooling")))
    path = write_tiny_sentences(tmp_path / "model", modules=ONE)
    checkpoint = checkpoint_from_path(path)
    assert checkpoint.parameters == bare.parameters + 64 * 48 + 48
    write_tiny_dense(path / "2_Dense", (64, 48), seed=7)
    assert checkpoint_from_path(path).digest != checkpoint.digest


def test_it_is_written_back_into_its_folder(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_sentences(tmp_path / "model", modules=TWO))
    names = {name for parameter in parameters_from_checkpoint(checkpoint).values() for name in parameter.names}
    assert {"2_Dense.linear.weight", "3_Dense.linear.bias"} <= names <= set(checkpoint.weights)
    changed = checkpoint.weights.array("3_Dense.linear.weight") + 1
    write_checkpoint(checkpoint, tmp_path / "out", {"3_Dense.linear.weight": changed})
    written = checkpoint_from_path(tmp_path / "out")
    assert written.head == checkpoint.head and set(written.weights) == set(checkpoint.weights)
    np.testing.assert_array_equal(written.weights.array("3_Dense.linear.weight"), changed)
    np.testing.assert_array_equal(*(each.weights.array("2_Dense.linear.weight") for each in (written, checkpoint)))
    with pytest.raises(InputError, match=r"the new values of 2_Dense\.linear\.bias"):
        write_checkpoint(checkpoint, tmp_path / "other", {"2_Dense.linear.bias": np.zeros(3, np.float32)})


def test_weights_of_torch_are_read_too(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = write_tiny_sentences(tmp_path / "model", modules=ONE)
    expected = vectors(checkpoint_from_path(path))
    weights = checkpoint_from_path(path).weights
    tensors = {
        f"linear.{leaf}": torch.from_numpy(weights.array(f"2_Dense.linear.{leaf}")) for leaf in ("weight", "bias")
    }
    torch.save(tensors, path / "2_Dense" / "pytorch_model.bin")
    (path / "2_Dense" / "model.safetensors").unlink()
    np.testing.assert_array_equal(vectors(checkpoint_from_path(path)), expected)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (
            {"activation_function": "torch.nn.modules.activation.GELU"},
            r"activation_function torch\.nn\.\S+\.GELU is not",
        ),
        ({"activation_function": "custom.Tanh"}, r"activation_function custom\.Tanh is not supported; bertc computes"),
        ({"in_features": "64"}, "in_features is '64', not a number of channels"),
        ({"out_features": None}, "out_features is None, not a number of channels"),
        (
            {"out_features": 40},
            r"2_Dense holds linear\.bias \[48\], linear\.weight \[48, 64\] where its config\.json says",
        ),
        ({"bias": False}, r"linear\.bias \[48\].* where its config\.json says linear\.weight \[48, 64\]"),
        ({"bias": 1}, "bias is 1, not true or false"),
        ({"use_residual": True}, "use_residual is set"),
        ({"module_input_name": "token_embeddings"}, "the layer reads token_embeddings and writes token_embeddings"),
        ({"module_output_name": "other"}, "the layer reads sentence_embedding and writes other"),
    ],
)
def test_what_is_refused(entries: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = write_tiny_sentences(tmp_path, modules=ONE)
    edit_json(path / "2_Dense" / "config.json", **entries)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(path)


def test_weights_that_are_missing_damaged_or_of_another_encoder(tmp_path: Path) -> None:
    path = write_tiny_sentences(tmp_path, modules=ONE)
    write_tiny_dense(path / "2_Dense", (32, 48))
    with pytest.raises(InputError, match=r"the layer 2_Dense\.linear reads 32 numbers where 64 come in"):
        graph_from_checkpoint(checkpoint_from_path(path))
    write_safetensors(path / "2_Dense" / "model.safetensors", {"linear.weight": np.zeros((48, 32), np.float32)})
    with pytest.raises(InputError, match=r"2_Dense holds linear\.weight \[48, 32\] where its config\.json says"):
        checkpoint_from_path(path)
    (path / "2_Dense" / "model.safetensors").rename(path / "2_Dense" / "model.onnx")
    with pytest.raises(
        InputError, match=r"2_Dense holds neither model\.safetensors nor pytorch_model\.bin, one .* of the Dense that"
    ):
        checkpoint_from_path(path)


def test_a_layer_without_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_tiny_sentences(tmp_path, modules=ONE)
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "")
    entries = [{"path": place, "type": f"sentence_transformers.models.{kind}"} for kind, place in kinds]
    write_json(path / "modules.json", entries)
    with pytest.raises(InputError, match="a Dense has no folder of its own"):
        checkpoint_from_path(path)
