"""Target `cuda-fp8`: mode 1 in E4M3 instead of INT8 on NVIDIA GPUs that multiply it, on bertc's own kernels."""

from __future__ import annotations

from bertc.runtime.cuda.cuda_runtime import CudaRuntime
from bertc.runtime.cuda.lacking import FLOAT_ROLES, HEAD_SIZES
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._planned import HARDLY_EXECUTED, expected_fusion, lower_graph

TARGET = Target(
    name="cuda-fp8",
    summary="FP8 (E4M3) by mode 1's scales on NVIDIA GPUs of compute capability 8.9 (extra cuda-native)",
    runtime=CudaRuntime(precision="fp8"),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=PYTHON,
    static_int8=True,
    precision="int8",
    float_roles=FLOAT_ROLES,
    no_int8_residual="residuals and products' outputs stay FP16, because E4M3 has 3 bits of fraction; use mode 1",
    note=(
        "The target cuda-fp8 stores mode 1's INT8 codes, and its engine turns weights and activations into E4M3 codes "
        f"of the same ranges: what is counted as INT8 is FP8, and model.onnx is INT8. It {HARDLY_EXECUTED}"
    ),
    unseen_tokens=False,
    head_sizes=HEAD_SIZES,
)
