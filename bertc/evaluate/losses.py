"""What training minimises: torch's counterparts of the distances of `bertc.evaluate.metrics.fidelity`, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOWEST = -1e4
"""A score that no softmax in float32 or bfloat16 sees."""


def kl_divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return KL(softmax(theirs) || softmax(ours)) in nats over the last axis."""
    from torch.nn import functional

    return functional.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def relative_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return |ours - theirs|^2 / |theirs|^2 over the last axis."""
    theirs = theirs.float()
    return (ours.float() - theirs).square().sum(-1) / theirs.square().sum(-1).clamp_min(1e-12)
