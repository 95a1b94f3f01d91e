"""The classifiers behind layers before the last: a pooler with tanh and a matrix each, on a text's first token or on
the mean of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bertc.core.exits import WEIGHTS, exit_name
from bertc.core.head import Exit, Head
from bertc.evaluate.task import HeadBuilder, Tensors

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor


def emit_exit(builder: HeadBuilder, found: Exit, states: ir.Value, scores: int) -> ir.Value:
    """Write the scores [texts, scores] of one exit from its layer's states [batch, length, hidden]."""
    from bertc.ir.pooling import emit_pooled

    hidden, prefix = builder.arch.hidden, f"{WEIGHTS}{found.layer}"
    x = emit_pooled(builder.emit, builder.packing, states, hidden, found.pooling, prefix)
    x = builder.linear(x, found.dense, (hidden, hidden), f"{prefix}.dense_gemm", f"{prefix}.dense")
    x = builder.emit.op("Tanh", x, name=f"{prefix}.dense_active")
    sizes = (hidden, scores)
    return builder.linear(x, found.classifier, sizes, f"{prefix}.classifier_gemm", exit_name(found.layer))


def mean_over_exits(head: Head, outputs: Tensors, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of a loss of the scores [batch, scores] over all classifiers: the last one and the exits.

    All count alike, as in DeeBERT's second stage and FastBERT's self-distillation.
    """
    names = ("logits", *(exit_name(each.layer) for each in head.exits))
    total = loss(outputs[names[0]].float())
    for name in names[1:]:
        total = total + loss(outputs[name].float())
    return total / len(names)
