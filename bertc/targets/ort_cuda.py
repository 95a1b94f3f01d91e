"""Target `ort-cuda`: FP16 with fused attention on NVIDIA GPUs, ONNX Runtime's CUDA provider. Never executed."""

from __future__ import annotations

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.export.ort import lower_cuda as ort_cuda
from bertc.runtime.ort.cuda import OrtCudaRuntime
from bertc.runtime.ort.inference_session import expected_fusion
from bertc.runtime.served import Served
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to ONNX Runtime's fused operators, in FP16."""
    return ort_cuda.lower_graph(graph, half=True)


TARGET = Target(
    name="ort-cuda",
    summary="FP16 with fused attention on NVIDIA GPUs (extra cuda); its authors could not execute it",
    runtime=OrtCudaRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=Served(backend="onnxruntime", gpu=True),
    precision="float16",
    no_int8=ort_cuda.NO_INT8,
    note=(
        "The target ort-cuda is FP16, not INT8. It had never been executed on a GPU when this version of bertc was "
        "made; what is measured here is the first evidence."
    ),
    rotary_positions=False,
    distance_embeddings=False,
    segments=False,
    rms_norm=False,
    unseen_tokens=False,
)
