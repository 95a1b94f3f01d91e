"""What each kind of attention of TensorRT can take. Facts and nothing else; `bertc.ir.fused` checks them.

Sources: the Python bindings of TensorRT 10.12 to 11.4, and NVIDIA's documentation of multi-head attention fusion as
quoted in NVIDIA/TensorRT issues 2981 and 4167. For `kernel`: for which GPUs Triton 3.9 compiles it
(tests/runtime/tensorrt/kernels), and the versions that have `tensorrt.plugin.aot_impl`. For FP8: the release notes of
TensorRT 10.6 (per-channel FP8 GEMMs on Hopper; FP8 attention on Ada, heads of up to 64, 3,072 tokens) and 10.7
(per-channel FP8 GEMMs on Ada; attention with larger heads and more tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bertc.ir.fused import AttentionNeeds
from bertc.ir.sites import Role

DECOMPOSED, NATIVE, PACKED, KERNEL = "decomposed", "native", "packed", "kernel"

KERNEL_NAMESPACE, KERNEL_OP = "bertc", "PackedInt8Attention"
"""What the plugin around the compiler's own kernel is registered as; the heads' number and size follow the name."""

INT8_HEAD_SIZES = frozenset({16, 32, 64})
"""Head sizes of TensorRT's own INT8 attention kernels."""

LONGEST_INT8 = 512
INT8_TENSOR_CORES = 75
"""Compute capability 7.5, times ten."""

FP8_HEAD_SIZES = frozenset({16, 32, 64, 128, 256})
FP8_TENSOR_CORES = 89
"""Ada; Hopper and Blackwell are above."""

_LAYER = AttentionNeeds(
    summary="TensorRT's attention layer (IAttention), put in through the network API",
    since=(10, 14),
    until=(12, 0),
    least_capability=INT8_TENSOR_CORES,
    head_sizes=INT8_HEAD_SIZES,
    head_sizes_because="TensorRT's INT8 attention kernels exist for these",
    longest=LONGEST_INT8,
    longest_because="TensorRT's INT8 attention kernels end there",
    float_roles=frozenset({Role.SCORES}),
)

NEEDS: Mapping[str, AttentionNeeds] = {
    DECOMPOSED: AttentionNeeds(
        summary="standard operators, which TensorRT fuses where it has a kernel",
        since=(10, 12),
        until=(12, 0),
        least_capability=INT8_TENSOR_CORES,
    ),
    NATIVE: _LAYER,
    PACKED: replace(_LAYER, summary="the same layer over all texts in one row, without padding", since=(11, 0)),
    KERNEL: AttentionNeeds(
        summary="bertc's own kernel as a plugin compiled ahead of time, without padding",
        since=(10, 12),
        until=(12, 0),
        least_capability=80,
        capabilities=frozenset({80, 86, 87, 89, 90, 100, 120}),
        head_sizes=frozenset({32, 64}),
        head_sizes_because="the kernel is checked for these",
        float_roles=frozenset({Role.SCORES}),
        int8_roles=frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS, Role.CONTEXT}),
        package="triton",
    ),
}

_FP8_LAYER = replace(
    _LAYER,
    least_capability=FP8_TENSOR_CORES,
    head_sizes=FP8_HEAD_SIZES,
    head_sizes_because="TensorRT's FP8 attention is documented for up to 64 and for larger ones",
    longest=None,
    longest_because="",
)

FP8_NEEDS: Mapping[str, AttentionNeeds] = {
    DECOMPOSED: replace(NEEDS[DECOMPOSED], least_capability=FP8_TENSOR_CORES),
    NATIVE: replace(_FP8_LAYER, summary=NEEDS[NATIVE].summary, since=NEEDS[NATIVE].since),
    PACKED: replace(_FP8_LAYER, summary=NEEDS[PACKED].summary, since=NEEDS[PACKED].since),
}
"""The same for FP8. The compiler's own kernel multiplies INT8 alone."""
