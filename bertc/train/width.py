"""What a narrower student keeps of its teacher: the channels, heads and neurons that matter most on the training text.

A weight matters as much as its size times the norm of its input over the text (Wanda, Sun et al. 2023,
arXiv:2306.11695); a channel as much as all weights that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint
from bertc.checkpoint.kept_width import KeptWidth, check_width, sizes_of_width
from bertc.core.example import Example
from bertc.ir.sites import Role, Site
from bertc.train.batches import parts_of_share
from bertc.train.losses import part_from_examples
from bertc.train.student import teacher_from_checkpoint

TEXTS = 512
"""Texts that the choice is made on, evenly spaced over the data: as many as a generous calibration has."""

Scores = NDArray[np.float64]


def width_from_examples(
    checkpoint: Checkpoint, layers: Sequence[int], hidden: int, examples: Sequence[Example]
) -> KeptWidth:
    """Return what a student of `layers` of the checkpoint's layers keeps to be `hidden` wide.

    The channels of the residual stream are one choice for all layers: a channel's part of what matters to each GEMM
    that reads the stream is added up. Heads and neurons are each layer's own, but heads are the same in all layers
    where those share a bias per head (MPNet). Raises `InputError` where `check_width` does.
    """
    check_width(checkpoint, hidden)
    architecture = checkpoint.architecture
    heads, neurons = sizes_of_width(architecture, hidden)
    weights = checkpoint.weights
    norms = _norms(checkpoint, layers, examples)
    stream, of_heads, of_neurons = np.zeros(architecture.hidden), [], []
    for layer in layers:
        names = architecture.layer_names[layer]

        def mattering(role: Role, *modules: str, layer: int = layer) -> Scores:
            sizes = sum(np.abs(weights.array(f"{module}.weight").astype(np.float64)).sum(0) for module in modules)
            return np.asarray(norms[Site(layer, role).name] * sizes)

        stream += _parts(mattering(Role.HIDDEN, names.query, names.key, names.value))
        stream += _parts(mattering(Role.ATTENTION_NORM, names.intermediate))
        context = _parts(mattering(Role.CONTEXT, names.attention_output))
        of_heads.append(context.reshape(architecture.heads, -1).sum(1))
        of_neurons.append(mattering(Role.ACTIVATION, names.output))
    if architecture.relative_bias is not None:
        of_heads = [np.sum(of_heads, 0)] * len(layers)
    return KeptWidth(
        channels=_largest(stream, hidden),
        heads=tuple(_largest(scores, heads) for scores in of_heads),
        neurons=tuple(_largest(scores, neurons) for scores in of_neurons),
    )


def _norms(checkpoint: Checkpoint, layers: Sequence[int], examples: Sequence[Example]) -> Mapping[str, Scores]:
    """Return the 2-norm of each channel of the GEMMs' inputs over all tokens of some texts, by the site's name."""
    step = max(1, len(examples) // TEXTS)
    chosen = examples[::step][:TEXTS]
    roles = (Role.HIDDEN, Role.ATTENTION_NORM, Role.CONTEXT, Role.ACTIVATION)
    sites = [Site(layer, role).name for layer in layers for role in roles]
    network = teacher_from_checkpoint(checkpoint)
    squares: dict[str, Scores] = dict.fromkeys(sites, np.zeros(()))
    with torch.no_grad():
        for order in parts_of_share(
            [tuple(range(len(chosen)))], [one.feature.length for one in chosen], rank=0, world=1
        ):
            part = part_from_examples(chosen, order, torch.device("cpu"))
            values = network(part.feeds, sites)
            for site in sites:
                tokens = values[site][part.mask].double()
                squares[site] = squares[site] + tokens.square().sum(0).numpy()
    return {site: np.sqrt(total) for site, total in squares.items()}


def _parts(scores: Scores) -> Scores:
    """Return scores as parts of their sum, so that every GEMM counts alike; nothing where all are 0."""
    total = scores.sum()
    return scores / total if total > 0 else scores


def _largest(scores: Scores, count: int) -> tuple[int, ...]:
    """Return the places of the largest scores, rising; of equal ones the first."""
    return tuple(sorted(int(place) for place in np.argsort(-scores, kind="stable")[:count]))
