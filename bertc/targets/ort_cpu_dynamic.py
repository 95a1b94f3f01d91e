"""Target `ort-cpu-dynamic`: ONNX Runtime's own dynamic INT8, activations quantized by each batch's range."""

from __future__ import annotations

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.export.ort.dynamic import quantize_dynamically
from bertc.ir.last_layer import slice_last_layer
from bertc.runtime.ort.inference_session import OrtRuntime, expected_fusion
from bertc.runtime.served import ORT_CPU
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to dynamic INT8."""
    return quantize_dynamically(slice_last_layer(graph))


TARGET = Target(
    name="ort-cpu-dynamic",
    summary="dynamic INT8 on ONNX Runtime: no calibration, answers depend on batch mates",
    runtime=OrtRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=ORT_CPU,
    precision="int8",
    note="Activations are quantized by the range of each batch, so a text's answer depends on the texts beside it.",
    packs_rows=True,
)
