"""Target `cuda`: static INT8 on NVIDIA GPUs, without padding: bertc's own kernels in Triton."""

from __future__ import annotations

from bertc.runtime.cuda.cuda_runtime import CudaRuntime
from bertc.runtime.cuda.lacking import FLOAT_ROLES, HEAD_SIZES
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._planned import HARDLY_EXECUTED, expected_fusion, lower_graph

TARGET = Target(
    name="cuda",
    summary="static INT8 on NVIDIA GPUs, bertc's own kernels, without padding (extra cuda-native)",
    runtime=CudaRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=PYTHON,
    static_int8=True,
    precision="int8",
    float_roles=FLOAT_ROLES,
    note=f"The target cuda {HARDLY_EXECUTED}",
    unseen_tokens=False,
    head_sizes=HEAD_SIZES,
)
