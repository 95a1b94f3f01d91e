"""Tiny checkpoints with the fake quantizers' buffers of other tools, in the names that those tools write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tests.fixtures import edit_json, write_safetensors, write_tiny_bert

LAYERS = 2
LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
SAME_TENSOR = {
    "attention.self.key._input_quantizer": "attention.self.query._input_quantizer",
    "attention.self.value._input_quantizer": "attention.self.query._input_quantizer",
    "attention.output.add_residual_input_quantizer": "attention.self.query._input_quantizer",
    "output.add_residual_input_quantizer": "intermediate.dense._input_quantizer",
}
FASTER_TRANSFORMER = {  # layer module: role, in the order of docs/modes.md
    "attention.self.query._input_quantizer": "hidden",
    "attention.self.query._aftergemm_quantizer": "query_gemm",
    "attention.self.key._aftergemm_quantizer": "key_gemm",
    "attention.self.value._aftergemm_quantizer": "value_gemm",
    "attention.self.matmul_q_input_quantizer": "query",
    "attention.self.matmul_k_input_quantizer": "key",
    "attention.self.matmul_v_input_quantizer": "value",
    "attention.self.softmax_input_quantizer": "scores",
    "attention.self.matmul_a_input_quantizer": "probs",
    "attention.output.dense._input_quantizer": "context",
    "attention.output.dense._aftergemm_quantizer": "attention_gemm",
    "intermediate.dense._input_quantizer": "attention_norm",
    "intermediate.dense._aftergemm_quantizer": "intermediate_gemm",
    "output.dense._input_quantizer": "gelu",
    "output.dense._aftergemm_quantizer": "output_gemm",
}
UNPLACED = (
    "attention.output.add_local_input_quantizer",
    "attention.output.layernorm_input_quantizer",
    "output.add_local_input_quantizer",
    "output.layernorm_input_quantizer",
)
Buffers = dict[str, NDArray[np.float32]]


def amax_of(layer: int, module: str) -> float:
    """Return a range that no other quantizer has, but those of the same tensor."""
    order = [*FASTER_TRANSFORMER, *UNPLACED]
    return 1.0 + layer + order.index(SAME_TENSOR.get(module, module)) / 32


def faster_transformer(weights: Mapping[str, NDArray[Any]], *, per_channel: bool = False) -> Buffers:
    """Return the buffers of a checkpoint calibrated with FasterTransformer's run_squad.py: every quantizer has one."""
    buffers: Buffers = {"bert.encoder.final_input_quantizer._amax": scalar(3)}
    for layer in range(LAYERS):
        prefix = f"bert.encoder.layer.{layer}"
        for module in (*FASTER_TRANSFORMER, *SAME_TENSOR, *UNPLACED):
            buffers[f"{prefix}.{module}._amax"] = scalar(amax_of(layer, module))
        for linear in LINEARS:
            weight = np.abs(weights[f"{prefix}.{linear}.weight"].astype(np.float32))
            amax = weight.max(axis=1, keepdims=True) if per_channel else weight.max()
            buffers[f"{prefix}.{linear}._weight_quantizer._amax"] = np.asarray(amax, np.float32)
    return buffers


def qdqbert(weights: Mapping[str, NDArray[Any]]) -> Buffers:
    """Return the buffers of transformers' QDQBERT: no GEMM outputs, no scores, weights per channel."""
    unknown = ("_aftergemm_quantizer", "softmax_input_quantizer", "layernorm_input_quantizer", "final_input_quantizer")
    found = faster_transformer(weights, per_channel=True)
    return {name: values for name, values in found.items() if not any(word in name for word in unknown)}


def model_opt(weights: Mapping[str, NDArray[Any]]) -> Buffers:
    """Return the buffers of ModelOpt, with the attention's products quantized."""
    words = {
        "matmul_a_input": "softmax",
        "matmul_q_input": "q_bmm",
        "matmul_k_input": "k_bmm",
        "matmul_v_input": "v_bmm",
    }
    found = {}
    for name, values in qdqbert(weights).items():
        if "add_" in name:
            continue
        for old, new in {**words, "._input": ".input", "._weight": ".weight"}.items():
            name = name.replace(f"{old}_quantizer", f"{new}_quantizer")
        found[name] = values
    return found | {"bert.pooler.dense.input_quantizer._amax": scalar(1), "classifier.input_quantizer._amax": scalar(1)}


def tensorflow(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the whole checkpoint in TensorFlow's names, weights and FasterTransformer's quantizers."""
    found: dict[str, NDArray[Any]] = {}
    for name, values in weights.items():
        words = name.replace(".layer.", ".layer_").replace(".", "/")
        heads = {"classifier/weight": "output_weights", "classifier/bias": "output_bias"}
        if "LayerNorm" in name:
            words = words.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
        elif words.endswith("_embeddings/weight"):
            words = words.removesuffix("/weight")
        elif words.endswith("/weight") and words not in heads:
            words, values = words.replace("/weight", "/kernel"), np.ascontiguousarray(values.T)
        found[heads.get(words, words)] = values
    for name, values in faster_transformer(weights).items():
        words = name.replace(".layer.", ".layer_").replace("._weight", ".kernel").replace("._", ".").replace(".", "/")
        found[words.replace("/amax", "/quant_max") + ":0"] = values * np.float32(0.5)
        found[words.replace("/amax", "/quant_min") + ":0"] = -values
    return found


def scalar(value: float) -> NDArray[np.float32]:
    """Return a tensor without axes."""
    return np.array(value, np.float32)


def tensors_of(folder: Path) -> dict[str, NDArray[Any]]:
    """Read a checkpoint's weights file."""
    return dict(safetensors.numpy.load_file(folder / "model.safetensors"))


def write_tensors(folder: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint's weights file."""
    write_safetensors(folder / "model.safetensors", tensors)


def change(folder: Path, **tensors: NDArray[Any] | None) -> None:
    """Set tensors, or remove those given as None."""
    kept = tensors_of(folder) | tensors
    write_tensors(folder, {name: values for name, values in kept.items() if values is not None})


def write_foreign(folder: Path, tool: str = "faster_transformer", **options: Any) -> Path:
    """Write a tiny float32 BERT with the buffers of a tool."""
    write_tiny_bert(folder, dtype="float32", layers=LAYERS, positions=64)
    weights = tensors_of(folder)
    if tool == "tensorflow":
        write_tensors(folder, tensorflow(weights))
        return folder
    makers = {"faster_transformer": faster_transformer, "qdqbert": qdqbert, "model_opt": model_opt}
    write_tensors(folder, weights | makers[tool](weights, **options))
    if tool == "qdqbert":
        edit_json(folder / "config.json", model_type="qdqbert", architectures=["QDQBertForSequenceClassification"])
    return folder
