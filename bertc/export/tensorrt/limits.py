"""What each kind of attention of TensorRT can take. Facts and nothing else; `bertc.ir.fused` checks them.

Sources: NVIDIA/TensorRT v10.12 to v11.1, plugin/bertQKVToContextPlugin (kernels, `enqueue`) and python/src/infer;
NVIDIA's documentation of multi-head attention fusion as quoted in NVIDIA/TensorRT issues 2981 and 4167. For `kernel`:
for which GPUs Triton 3.9 compiles it (tests/runtime/tensorrt/kernels), and the versions that have
`tensorrt.plugin.aot_impl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bertc.ir.fused import AttentionNeeds
from bertc.ir.sites import Role

DECOMPOSED, NATIVE, PACKED, PLUGIN, KERNEL = "decomposed", "native", "packed", "plugin", "kernel"

KERNEL_NAMESPACE, KERNEL_OP = "bertc", "PackedInt8Attention"
KERNEL_PLUGIN = f"{KERNEL_NAMESPACE}::{KERNEL_OP}"
"""What the plugin around the compiler's own kernel is registered as."""

INT8_HEAD_SIZES = frozenset({16, 32, 64})
"""Head sizes of TensorRT's own INT8 attention kernels."""

LONGEST_INT8 = 512
INT8_TENSOR_CORES = 75
"""Compute capability 7.5, times ten."""

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
    PLUGIN: AttentionNeeds(
        summary="NVIDIA's BERT plugin, version 6, without padding",
        since=(10, 12),
        until=(11, 2),
        least_capability=INT8_TENSOR_CORES,
        capabilities=frozenset({75, 80, 86, 87, 89, 90, 100, 120}),
        head_sizes=frozenset({64}),
        head_sizes_because="the plugin's explicit INT8 kernels multiply by 1 / sqrt(64)",
        longest=384,
        longest_because="the plugin's longest INT8 kernel is for 384 tokens",
        float_roles=frozenset({Role.SCORES}),
        int8_roles=frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS, Role.CONTEXT}),
        one_scale=True,
    ),
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
