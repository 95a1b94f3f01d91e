"""What training minimises: torch's counterparts of the distances of `bertc.evaluate.metrics.fidelity`, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bertc.core.example import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    Chain = tuple[Tensor, Tensor, Tensor]
    """A CRF's transitions [from, to], start and end [labels]."""

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


def crf_loss(emissions: Tensor, tags: Tensor, scored: Tensor, chain: Chain) -> Tensor:
    """Return -log P(tags | emissions) in nats under a CRF, summed over texts.   log Z - log Z(tags)

    emissions: float32 [batch, length, labels]; scored: bool [batch, length], the tokens that the CRF goes over; tags:
    int64 [batch, length], `IGNORED` where the tag is unknown, which any tag may be: Z(tags) sums over those. The
    constraints of the scheme are for decisions alone, since gold may break them.
    """
    import torch

    order = scored.logical_not().long().argsort(stable=True, dim=1)  # what is scored moves to the front, in its order
    lengths = scored.sum(1)
    emissions = emissions.gather(1, order[:, :, None].expand_as(emissions))
    tags = tags.gather(1, order)
    others = torch.arange(emissions.shape[-1], device=tags.device) != tags[:, :, None]
    known = emissions.masked_fill(others & (tags != IGNORED)[:, :, None], LOWEST)
    return (_log_partition(emissions, lengths, chain) - _log_partition(known, lengths, chain)).sum()


def _log_partition(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """Return log sum exp of the scores of all sequences of tags, [batch]: the forward algorithm."""
    transitions, start, end = chain
    forward = start + emissions[:, 0]
    for step in range(1, int(lengths.max())):
        further = (forward[:, :, None] + transitions).logsumexp(1) + emissions[:, step]
        forward = further.where((lengths > step)[:, None], forward)
    return (forward + end).logsumexp(1)
