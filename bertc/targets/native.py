"""Target `native`: static INT8, attention's two products included, on bertc's own kernels, without padding."""

from __future__ import annotations

from bertc.runtime.native.native_runtime import NativeRuntime
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._planned import expected_fusion, lower_graph

TARGET = Target(
    name="native",
    summary="static INT8 with INT8 attention on bertc's own kernels, without padding (the default)",
    runtime=NativeRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=PYTHON,
    static_int8=True,
    zero_points=True,
    precision="int8",
    lets_texts_leave=True,
)
