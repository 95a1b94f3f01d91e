"""Put TensorRT's attention layer in the place of the operators of `--attention native` or `packed` in a parsed network.

The operators stay behind without a reader, and TensorRT drops them. The layer is not decomposable: where TensorRT has
no fused kernel for it, the build fails instead of running unfused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError

if TYPE_CHECKING:
    import tensorrt as trt

MASK, ENDS = "attention.mask", "attention.ends"


def insert_attention(
    network: trt.INetworkDefinition,
    parser: trt.OnnxParser,
    probs_scales: Mapping[int, float],
    *,
    layers: int,
    packed: bool,
    version: tuple[int, int],
) -> list[NDArray[np.float32]]:
    """Replace every layer's attention; returns the arrays that have to live until the engine is built.

    `probs_scales` has the layers whose softmax is INT8. Packed, the texts' ends tell them apart instead of a mask,
    which TensorRT 11 can. Raises `InputError` when the network has no such operators.
    """
    kept: list[NDArray[np.float32]] = []
    readers = _readers(network)
    texts = _tensor(parser, ENDS if packed else MASK)
    for layer in range(layers):
        prefix = f"layer.{layer}."
        query, key, value = (_operand(parser, f"{prefix}{role}_heads") for role in ("query", "key", "value"))
        context = _tensor(parser, f"{prefix}context_heads")
        attention = _added(network, query, key, value, f"{prefix}attention", version)
        _set_texts(attention, texts, packed=packed, version=version)
        if layer in probs_scales:
            _quantize_softmax(network, attention, probs_scales[layer], kept)
        output = attention.get_output(0)
        for reader, index in readers[context.name]:
            reader.set_input(index, output)
    return kept


def _added(
    network: trt.INetworkDefinition,
    query: trt.ITensor,
    key: trt.ITensor,
    value: trt.ITensor,
    name: str,
    version: tuple[int, int],
) -> trt.IAttention:
    import tensorrt as trt

    softmax = trt.AttentionNormalizationOp.SOFTMAX
    TENSORRT_11 = version >= (11, 0)
    if TENSORRT_11:
        attention = network.add_attention_v2(query, key, value, softmax, trt.CausalMaskKind.NONE)
    else:
        attention = network.add_attention(query, key, value, softmax, False)
    if attention is None:
        raise InputError(f"TensorRT takes no attention layer for {name}; choose --attention decomposed")
    attention.name = name
    attention.decomposable = False
    return attention


def _set_texts(attention: trt.IAttention, texts: trt.ITensor, *, packed: bool, version: tuple[int, int]) -> None:
    """Say which tokens see each other: by a mask, or where each text of [tokens, heads, size] ends."""
    import tensorrt as trt

    TENSORRT_11 = version >= (11, 0)
    if not packed:
        attention.mask = texts
    elif TENSORRT_11:
        attention.query_form = attention.key_value_form = trt.AttentionIOForm.PACKED_NHD
        attention.query_lengths = attention.key_value_lengths = texts
    else:
        raise InputError("the attention layer of TensorRT 10 takes no packed texts; choose --attention native")


def _quantize_softmax(
    network: trt.INetworkDefinition, attention: trt.IAttention, scale: float, kept: list[NDArray[np.float32]]
) -> None:
    """Let the softmax give codes."""
    import tensorrt as trt

    array = np.array([scale], np.float32)
    kept.append(array)  # TensorRT reads it where it lies, when it builds
    attention.normalization_quantize_to_type = trt.DataType.INT8
    attention.normalization_quantize_scale = network.add_constant((1,), array).get_output(0)


def _operand(parser: trt.OnnxParser, name: str) -> trt.ITensor:
    """Return an operand behind its Q/DQ pair, or as it is where it stays in float."""
    found = parser.get_layer_output_tensor(f"{name}.dequantized", 0)
    return _tensor(parser, name) if found is None else found


def _tensor(parser: trt.OnnxParser, name: str) -> trt.ITensor:
    found = parser.get_layer_output_tensor(name, 0)
    if found is None:
        raise InputError(f"the model has no value {name}, so it was not exported with this --attention; export again")
    return found


def _readers(network: trt.INetworkDefinition) -> dict[str, list[tuple[trt.ILayer, int]]]:
    """Return which layers read each tensor, and at which place, by the tensor's name."""
    readers: dict[str, list[tuple[trt.ILayer, int]]] = {}
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        for index in range(layer.num_inputs):
            tensor = layer.get_input(index)
            if tensor is not None:
                readers.setdefault(tensor.name, []).append((layer, index))
    return readers
