"""Target `openvino-float`: FP32 on OpenVINO's CPU kernels."""

from __future__ import annotations

from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._openvino import expected_float_fusion, lower_graph

TARGET = Target(
    name="openvino-float",
    summary="FP32 on OpenVINO (extra openvino)",
    runtime=OpenvinoRuntime(),
    lower=lower_graph,
    expected_fusion=expected_float_fusion,
    served=PYTHON,
    no_int8="it is FP32; the target openvino is OpenVINO's INT8",
    packs_rows=True,
)
