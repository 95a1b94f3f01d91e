"""Target `cuda-float16`: FP16 on NVIDIA GPUs, on bertc's own kernels: what its INT8 is compared with."""

from __future__ import annotations

from bertc.runtime.cuda.cuda_runtime import CudaRuntime
from bertc.runtime.cuda.lacking import HEAD_SIZES
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._planned import HARDLY_EXECUTED, expected_fusion, lower_graph

TARGET = Target(
    name="cuda-float16",
    summary="FP16 on NVIDIA GPUs, bertc's own kernels (extra cuda-native)",
    runtime=CudaRuntime(precision="float16"),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=PYTHON,
    no_int8="it is FP16; the target cuda is its INT8",
    note=f"The target cuda-float16 stores float32, and its engine computes in FP16. It {HARDLY_EXECUTED}",
    unseen_tokens=False,
    head_sizes=HEAD_SIZES,
)
