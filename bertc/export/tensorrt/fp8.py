"""FP8 (E4M3) in the place of INT8: the same Q/DQ pairs over the same ranges, with other codes between them.

The arithmetic is that of the target `cuda-fp8`: a weight's INT8 code becomes the E4M3 code nearest to it in E4M3's
range, an activation is rounded to E4M3 where it was rounded to INT8, and a scale is what INT8's was, divided by
`TO_E4M3`. TensorRT and ONNX round half to even and saturate at 448. Sources: NVIDIA's "Quantization Schemes" of
TensorRT, castToFp8(clip(x / s, -448, 448)); ONNX's QuantizeLinear of opset 19, whose zero point says the codes' type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.affine import TO_E4M3
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of

E4M3 = ir.DataType.FLOAT8E4M3FN
PAIR = ("QuantizeLinear", "DequantizeLinear")


def use_fp8(model: ir.Model) -> None:
    """Make every INT8 pair and every INT8 weight one of E4M3, in place. All zero points are 0."""
    assert not model.functions, "what a plugin computes is INT8"
    nodes = [node for node in model.graph if node.op_type in PAIR]
    for scale in {node.inputs[1]: None for node in nodes}:
        assert scale is not None and all(use.node.op_type in PAIR for use in scale.uses()), f"{scale} scales no codes"
        set_constant(scale, (array_of(scale) / np.float32(TO_E4M3)).astype(np.float32))
    codes = [value for node in nodes for value in (node.inputs[0], *node.inputs[2:])]
    for value in {each: None for each in codes if each is not None and each.dtype == ir.DataType.INT8}:
        if value.const_value is not None:
            set_constant(value, e4m3_from_int8(array_of(value)))


def e4m3_from_int8(codes: NDArray[np.int8]) -> NDArray[Any]:
    """Return the E4M3 codes that stand for INT8 codes: 127 becomes 448, and what lies between is rounded to even.

    >>> e4m3_from_int8(np.int8([0, 1, 64, -127])).astype(np.float32).tolist()
    [0.0, 3.5, 224.0, -448.0]
    """
    return np.asarray((codes.astype(np.float32) * np.float32(TO_E4M3)).astype(E4M3.numpy()))


def is_fp8(model: ir.Model) -> bool:
    """Say whether a lowered model's codes are E4M3."""
    return any(value.dtype == E4M3 for value in model.graph.initializers.values())
