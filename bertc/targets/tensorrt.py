"""Target `tensorrt`: INT8 with fused attention on NVIDIA GPUs, a strongly typed network in FP16. Never executed."""

from __future__ import annotations

from bertc.export.tensorrt.limits import NEEDS
from bertc.export.tensorrt.lower import FLOAT_ROLES
from bertc.runtime.served import Served
from bertc.targets import Target
from bertc.targets._tensorrt import NEVER_EXECUTED, TensorrtRuntime, expected_fusion, lower_graph

TARGET = Target(
    name="tensorrt",
    summary="INT8 with fused attention on NVIDIA GPUs (extra tensorrt); its authors could not execute it",
    runtime=TensorrtRuntime(needs=NEEDS, codes="INT8"),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=Served(backend="tensorrt", file=TensorrtRuntime.model_files[0], gpu=True, compiled=True),
    static_int8=True,
    precision="int8",
    float_roles=FLOAT_ROLES,
    attentions=NEEDS,
    note=f"The target tensorrt {NEVER_EXECUTED}",
    rotary_positions=False,
    distance_embeddings=False,
    segments=False,
    rms_norm=False,
    unseen_tokens=False,
)
