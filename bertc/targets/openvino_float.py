"""Target `openvino-float`: FP32 on OpenVINO's CPU kernels."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.export.openvino import lower as openvino
from bertc.ir.last_layer import slice_last_layer
from bertc.ir.scheme import Scheme
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.runtime.served import OPENVINO
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to the standard operators that OpenVINO reads."""
    return openvino.lower_graph(slice_last_layer(graph))


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm; GELUs inside their GEMMs."""
    return {"layer_norm": 2 * layers + 1, "gelu": layers}


TARGET = Target(
    name="openvino-float",
    summary="FP32 on OpenVINO (extra openvino)",
    runtime=OpenvinoRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=OPENVINO,
    no_int8="it is FP32; the target openvino is OpenVINO's INT8",
    packs_rows=True,
)
