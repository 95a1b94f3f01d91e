"""Target `tensorrt-fp8`: mode 1 in E4M3 instead of INT8, on NVIDIA GPUs that multiply it. Never executed."""

from __future__ import annotations

from functools import partial

from bertc.export.tensorrt.limits import FP8_NEEDS
from bertc.export.tensorrt.lower import FLOAT_ROLES
from bertc.runtime.served import Served
from bertc.targets import Target
from bertc.targets._tensorrt import NEVER_EXECUTED, TensorrtRuntime, expected_fusion, lower_graph

TARGET = Target(
    name="tensorrt-fp8",
    summary="FP8 (E4M3) by mode 1's scales on TensorRT, GPUs of compute capability 8.9; never executed",
    runtime=TensorrtRuntime(needs=FP8_NEEDS, codes="FP8"),
    lower=partial(lower_graph, fp8=True),
    expected_fusion=expected_fusion,
    served=Served(backend="tensorrt", file=TensorrtRuntime.model_files[0], gpu=True, compiled=True),
    static_int8=True,
    precision="int8",
    float_roles=FLOAT_ROLES,
    no_int8_residual="residuals and products' outputs stay FP16, because E4M3 has 3 bits of fraction; use mode 1",
    no_sparsity="nothing says that TensorRT has kernels for 2:4 weights in FP8; leave it out, or use --target tensorrt",
    attentions=FP8_NEEDS,
    note=f"What is counted as INT8 is FP8 (E4M3). The target tensorrt-fp8 {NEVER_EXECUTED}",
    rotary_positions=False,
    distance_embeddings=False,
    segments=False,
    rms_norm=False,
    unseen_tokens=False,
)
