"""Put TensorRT's attention layer in the place of the operators of `--attention native` or `packed` in a parsed network.

The operators stay behind without a reader, and TensorRT drops them. The layer is not decomposable: where TensorRT has
no fused kernel for it, the build fails instead of running unfused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.runtime.tensorrt.library import made, version_from_text

if TYPE_CHECKING:
    import tensorrt as trt

MASK, ENDS, TOKENS = "attention.mask", "attention.ends", "attention_mask"
LENGTH_AXIS = 1 << 1


@dataclass(frozen=True, slots=True)
class _Network:
    """A parsed network, its parser, what codes are, and the arrays that have to live until the engine is built."""

    network: trt.INetworkDefinition
    parser: trt.OnnxParser
    version: tuple[int, int]
    codes: trt.DataType
    kept: list[NDArray[np.float32]] = field(default_factory=list)


def insert_attention(
    network: trt.INetworkDefinition,
    parser: trt.OnnxParser,
    probs_scales: Mapping[int, float],
    *,
    layers: int,
    packed: bool,
    codes: trt.DataType,
) -> list[NDArray[np.float32]]:
    """Replace every layer's attention; returns the arrays that have to live until the engine is built.

    `probs_scales` has the layers whose softmax gives `codes`, INT8 or FP8. What tells the texts apart is, packed, where
    they end; else their lengths, which TensorRT 11 takes for texts that are padded on the right, as a batch's are; else
    a mask.
    Raises `InputError` when the network has no such operators, or where the layer refuses a setting, which it does
    without a word.
    """
    import tensorrt as trt

    parsed = _Network(network, parser, version_from_text(trt.__version__), codes)
    readers = _readers(network)
    texts = _texts(parsed, packed=packed)
    for layer in range(layers):
        prefix = f"layer.{layer}."
        operands = [_operand(parser, f"{prefix}{role}_heads") for role in ("query", "key", "value")]
        context = _tensor(parser, f"{prefix}context_heads")
        attention = _added(parsed, operands, f"{prefix}attention")
        _set_texts(parsed, attention, texts, packed=packed)
        if layer in probs_scales:
            _quantize_softmax(parsed, attention, probs_scales[layer])
        output = made(attention.get_output(0), "attention's output", [])
        for reader, index in readers[context.name]:
            reader.set_input(index, output)
    return parsed.kept


def _added(parsed: _Network, operands: Sequence[trt.ITensor], name: str) -> trt.IAttention:
    import tensorrt as trt

    query, key, value = operands
    softmax = trt.AttentionNormalizationOp.SOFTMAX
    TENSORRT_11 = parsed.version >= (11, 0)
    if TENSORRT_11:
        attention = parsed.network.add_attention_v2(query, key, value, softmax, trt.CausalMaskKind.NONE)
    else:
        attention = parsed.network.add_attention(query, key, value, softmax, False)
    if attention is None:
        raise InputError(f"TensorRT takes no attention layer for {name}; choose --attention decomposed")
    attention.name = name
    attention.decomposable = False
    _check_taken(not attention.decomposable, attention, "decomposable")
    return attention


def _texts(parsed: _Network, *, packed: bool) -> trt.ITensor:
    """Return what tells the texts apart: where each ends, how long each is (from 11.0), or which tokens see which."""
    import tensorrt as trt

    TENSORRT_11 = parsed.version >= (11, 0)
    if packed:
        return _tensor(parsed.parser, ENDS)
    if TENSORRT_11:
        inputs = (parsed.network.get_input(number) for number in range(parsed.network.num_inputs))
        tokens = next((each for each in inputs if each is not None and each.name == TOKENS), None)
        summed = parsed.network.add_reduce(
            made(tokens, TOKENS, []), trt.ReduceOperation.SUM, axes=LENGTH_AXIS, keep_dims=False
        )
        return made(made(summed, "sum of the mask", []).get_output(0), "lengths", [])
    return _tensor(parsed.parser, MASK)


def _set_texts(parsed: _Network, attention: trt.IAttention, texts: trt.ITensor, *, packed: bool) -> None:
    """Say which tokens see each other: by the texts' ends, by their lengths, or by a mask."""
    import tensorrt as trt

    TENSORRT_11 = parsed.version >= (11, 0)
    if TENSORRT_11:
        if packed:
            form = trt.AttentionIOForm.PACKED_NHD
            attention.query_form = attention.key_value_form = form
            _check_taken(attention.query_form == form == attention.key_value_form, attention, "query_form")
            attention.query_lengths = texts
            _check_taken(attention.query_lengths is not None, attention, "query_lengths")
        attention.key_value_lengths = texts
        _check_taken(attention.key_value_lengths is not None, attention, "key_value_lengths")
    elif packed:
        raise InputError("the attention layer of TensorRT 10 takes no packed texts; choose --attention native")
    else:
        attention.mask = texts
        _check_taken(attention.mask is not None, attention, "mask")


def _quantize_softmax(parsed: _Network, attention: trt.IAttention, scale: float) -> None:
    """Let the softmax give codes."""
    array = np.array([scale], np.float32)
    parsed.kept.append(array)  # TensorRT reads it where it lies, when it builds
    attention.normalization_quantize_to_type = parsed.codes
    taken = attention.normalization_quantize_to_type == parsed.codes
    _check_taken(taken, attention, "normalization_quantize_to_type")
    constant = made(parsed.network.add_constant((1,), array), "constant", [])
    attention.normalization_quantize_scale = made(constant.get_output(0), "scale", [])
    taken = attention.normalization_quantize_scale is not None
    _check_taken(taken, attention, "normalization_quantize_scale")


def _check_taken(taken: bool, attention: trt.IAttention, setting: str) -> None:
    """Stop where a setting, read back, is not what it was set to."""
    if not taken:
        raise InputError(
            f"TensorRT's attention layer {attention.name} does not take {setting}; choose --attention decomposed"
        )


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
        layer = made(network.get_layer(number), "layer", [])
        for index in range(layer.num_inputs):
            tensor = layer.get_input(index)
            if tensor is not None:
                readers.setdefault(tensor.name, []).append((layer, index))
    return readers
