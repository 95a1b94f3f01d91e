"""What TensorRT made of a model, read from its engine inspector's JSON: fused nodes, precision, sparse kernels.

TensorRT names in each layer's `Metadata` the ONNX nodes that it computes. Their names are ours, so a layer of TensorRT
is recognized by what it computes, however it is fused. Never seen on a real engine of this compiler; what cannot be
recognized counts as not fused, and a build whose GEMMs cannot be shown to multiply codes is refused. Codes are INT8, or
FP8 in an engine of `tensorrt-fp8`, whose network has no INT8: what is called INT8 in `Optimized` is either. Source of
the words for FP8: the formats of NVIDIA/TensorRT's trt-engine-explorer, names of FP8 kernels ("e4m3").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertc.errors import InputError
from bertc.ir.sites import GEMM_OUTPUTS
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.runtime.tensorrt.cuda_memory import Device
from bertc.runtime.tensorrt.library import REQUIREMENTS, made

if TYPE_CHECKING:
    import tensorrt as trt

NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
GEMM = re.compile(rf"layer\.\d+\.(?:{'|'.join(GEMM_OUTPUTS)})")
NORM = re.compile(r"layer\.\d+\.(?:hidden|attention_norm)|encoder\.output")
ATTENTION = re.compile(r"layer\.\d+\.(?:attention|scores|context_heads)")
PRODUCTS = {"scores", "context_heads"}
"""The two batched products, where attention is no single node."""

PUT_IN = re.compile(r"layer\.\d+\.attention(?!\w)")
CODES = re.compile(r"int8|fp8|e4m3", re.IGNORECASE)
CODES_KERNEL = re.compile(r"i8|int8|imma|fp8|e4m3", re.IGNORECASE)
SPARSE_KERNEL = re.compile(r"sparse|sp_?gemm", re.IGNORECASE)
MOVING = frozenset({"Reformat", "NoOp", "Shuffle", "Constant", "Quantize", "Dequantize", "Scale", "signal", "wait"})
"""Kinds of layers that compute no product, though they may name the node of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an engine: its kind, the ONNX nodes it computes, and whether it multiplies codes."""

    kind: str
    nodes: frozenset[str]
    codes: bool
    sparse: bool


def layers_from_json(text: str) -> list[Layer]:
    """Read the inspector's JSON. Raises `InputError` when the engine was built without details."""
    document = json.loads(text)
    layers = document.get("Layers", [])
    if not layers or any(isinstance(layer, str) for layer in layers):
        raise InputError("the engine was built without the details that tell what it runs; build it with bertc build")
    return [_layer(layer) for layer in layers]


def optimized_from_engine(engine: trt.ICudaEngine, device: Device) -> Optimized:
    """Ask an engine's inspector what it runs."""
    import tensorrt as trt

    inspector = made(engine.create_engine_inspector(), "engine inspector", [])
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return optimized_from_json(
        text,
        runtime=f"tensorrt {trt.__version__}",
        requirement=REQUIREMENTS[0],
        bound_to={"device": device.name, "driver": device.driver},
    )


def optimized_from_json(text: str, *, runtime: str, requirement: str, bound_to: Mapping[str, str]) -> Optimized:
    """Count what an engine runs."""
    layers = layers_from_json(text)
    products = [layer for layer in layers if layer.kind not in MOVING]
    gemms = _mentioned(products, GEMM)
    coded = _mentioned([layer for layer in products if layer.codes], GEMM)
    return Optimized(
        runtime=runtime,
        requirement=requirement,
        fused={
            "attention": len(_attentions(products)),
            INT8_ATTENTION: len(_coded_attentions(products)),
            "layer_norm": len(_mentioned(layers, NORM)),
            "sparse_gemms": len(_mentioned([layer for layer in products if layer.sparse], GEMM)),
        },
        gemms_int8=len(coded),
        gemms_float=len(gemms - coded),
        operators=dict(Counter(layer.kind for layer in layers)),
        bound_to=bound_to,
    )


def _layer(found: Mapping[str, Any]) -> Layer:
    name = str(found.get("Name", ""))
    nodes = set(NODE.findall(str(found.get("Metadata", ""))))
    # An attention layer that was put in through the network API has a name of ours, and not always metadata.
    nodes |= set(PUT_IN.findall(name))
    kernel = " ".join(str(found.get(key, "")) for key in ("TacticName", "TacticValue", "Kernel"))
    inputs = found.get("Inputs", [])
    return Layer(
        kind=str(found.get("LayerType", "")),
        nodes=frozenset(nodes),
        codes=any(_has_codes(each) for each in inputs) or bool(CODES_KERNEL.search(kernel)),
        sparse=bool(SPARSE_KERNEL.search(kernel)),
    )


def _has_codes(tensor: Any) -> bool:
    """Whether a tensor is INT8 or FP8, as 10.x says it ("Format/Datatype") or as 11.x does ("Datatype")."""
    if not isinstance(tensor, Mapping):
        return False
    said = " ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype", "Format"))
    return bool(CODES.search(said))


def _mentioned(layers: Iterable[Layer], pattern: re.Pattern[str]) -> set[str]:
    """Return the nodes that match, each once."""
    return {node for layer in layers for node in layer.nodes if pattern.fullmatch(node)}


def _attentions(layers: Sequence[Layer]) -> set[int]:
    """Return the encoder layers whose attention is one layer of the engine."""
    found = set()
    for layer in layers:
        parts = _parts_of_attention([layer])
        found |= {number for number, names in parts.items() if "attention" in names or names >= PRODUCTS}
    return found


def _coded_attentions(layers: Sequence[Layer]) -> set[int]:
    """Return the encoder layers whose two batched products multiply codes, in one layer of the engine or several."""
    parts = _parts_of_attention([layer for layer in layers if layer.codes])
    return {number for number, names in parts.items() if "attention" in names or names >= PRODUCTS}


def _parts_of_attention(layers: Iterable[Layer]) -> dict[int, set[str]]:
    """Return which parts of each encoder layer's attention the engine's layers compute."""
    parts: dict[int, set[str]] = {}
    for node in _mentioned(layers, ATTENTION):
        _, number, name = node.split(".")
        parts.setdefault(int(number), set()).add(name)
    return parts
