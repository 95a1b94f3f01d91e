"""Linear layers of their own behind an encoder, as sentence-transformers' Dense: written by the tasks of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertc.core.head import Projection
from bertc.errors import InputError
from bertc.evaluate.task import HeadBuilder

if TYPE_CHECKING:
    import onnx_ir as ir


def emit_projections(
    builder: HeadBuilder, projections: Sequence[Projection], x: ir.Value, width: int
) -> tuple[ir.Value, int]:
    """Write x W + b, and tanh where a layer has it, for each layer; x: [..., width]. Returns the last one's width too.

    Raises `InputError` for a layer that does not read what comes before it.
    """
    for number, each in enumerate(projections):
        if each.sizes[0] != width:
            raise InputError(
                f"{builder.path}: the layer {each.module} reads {each.sizes[0]} numbers where {width} come in; use the "
                "module that was trained with this encoder"
            )
        name = f"head.projection_{number}"
        x = builder.linear(x, each.module, each.sizes, f"{name}_gemm", name, bias=each.bias)
        if each.tanh:
            x = builder.emit.op("Tanh", x, name=f"{name}_active")
        width = each.sizes[1]
    return x, width
