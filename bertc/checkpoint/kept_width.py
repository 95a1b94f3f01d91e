"""A checkpoint with some of its width left out: channels of the residual stream, heads and feed-forward neurons.

All layers, the embeddings, the norms and the head read and write one residual stream, so they keep the same channels of
it; heads stay whole, and each layer has its own of them. The choice is not made here (bertc/train/width.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Checkpoint, Weights
from bertc.checkpoint.config_json import CONFIG_FILE
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptWidth:
    """What is kept: `channels` of the residual stream, and each layer's `heads` and feed-forward `neurons`, rising."""

    channels: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]


def sizes_of_width(architecture: Architecture, hidden: int) -> tuple[int, int]:
    """Return heads and feed-forward width of a model that is `hidden` wide: heads as wide as before, the same ratio."""
    return hidden // architecture.head_size, architecture.intermediate * hidden // architecture.hidden


def first_width(architecture: Architecture, hidden: int) -> KeptWidth:
    """Return the first of all: a model of the right sizes, where nothing is computed yet."""
    heads, neurons = sizes_of_width(architecture, hidden)
    layers = architecture.layers
    return KeptWidth(
        channels=tuple(range(hidden)), heads=(tuple(range(heads)),) * layers, neurons=(tuple(range(neurons)),) * layers
    )


def check_width(checkpoint: Checkpoint, hidden: int) -> None:
    """Raise `InputError` for a width that is no smaller or has no whole heads, and a model that cannot be cut so."""
    architecture = checkpoint.architecture
    reason = _reason(checkpoint)
    if reason is not None:
        raise InputError(
            f"{checkpoint.path}: {reason} ({checkpoint.family}), so bertc makes no narrower student of this model; "
            "train a smaller one with transformers, and build that"
        )
    if hidden >= architecture.hidden:
        raise InputError(
            f"{checkpoint.path} is {architecture.hidden} wide, and a student of {hidden} is no narrower; choose fewer "
            "channels with --hidden"
        )
    size = architecture.head_size
    if hidden % size:
        near = [each for each in (hidden // size * size, (hidden // size + 1) * size) if 0 < each < architecture.hidden]
        remedy = (
            f"choose a multiple with --hidden, such as {' or '.join(map(str, near))}" if near else "leave --hidden out"
        )
        raise InputError(
            f"a student of {hidden} channels has no whole heads, which are {size} wide in {checkpoint.path}; {remedy}"
        )
    if sizes_of_width(architecture, hidden)[1] < 1:
        raise InputError(
            f"{checkpoint.path} has a feed-forward of {architecture.intermediate} for {architecture.hidden} channels, "
            f"of which nothing is left for {hidden}; choose more channels with --hidden"
        )


def _reason(checkpoint: Checkpoint) -> str | None:
    """Say why a model has no narrower student, None where it has."""
    architecture, head = checkpoint.architecture, checkpoint.head
    if architecture.shares_layers:
        return "its layers share their weights"
    if architecture.embedding_projection is not None:
        return "its embeddings are narrower than its layers"
    distances = architecture.relative_embeddings or architecture.relative_sinusoids
    if architecture.norm_first or architecture.gated or architecture.rotary or distances:
        return "its layers are not BERT's"
    if head.pooling is not None or head.projections or head.lstm is not None:
        return "its head reads vectors that are as wide as its layers, and a narrower student would give others"
    if checkpoint.exits:
        return "it has classifiers behind earlier layers"
    return None


def checkpoint_of_width(checkpoint: Checkpoint, kept: KeptWidth) -> Checkpoint:
    """Return a checkpoint of what is kept; the weights stay where they are until they are read.

    Its digest is its own, and ranges of other tools, which belong to the whole model, are left out.
    """
    architecture = checkpoint.architecture
    weights = NarrowWeights(checkpoint.weights, architecture, kept)
    sizes = (len(kept.channels), len(kept.heads[0]), len(kept.neurons[0]))
    changed = dict(zip(architecture.width_fields, sizes, strict=True))
    if "embedding_size" in checkpoint.config:  # ELECTRA's, which is as wide as its layers
        changed["embedding_size"] = sizes[0]
    origin = f"{checkpoint.digest} width {kept}"
    return replace(
        checkpoint,
        config={**checkpoint.config, **changed},
        weights=weights,
        digest=hashlib.sha256(origin.encode()).hexdigest(),
        parameters=sum(math.prod(weights.shape(name)) for name in weights),
        files=tuple(file for file in checkpoint.files if file != checkpoint.weights.files[0].parent / CONFIG_FILE),
        quantizers={},
    )


class NarrowWeights:
    """The weights of a model without some of its width; see `Weights` for the interface."""

    def __init__(self, whole: Weights, architecture: Architecture, kept: KeptWidth) -> None:
        """Take the weights, the whole model's architecture, and what is kept of it."""
        self._whole = whole
        self._places = dict(_places(architecture, kept))
        self.files = whole.files

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._whole)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._whole

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        whole = self._whole.shape(name)
        kept = self._places.get(name, (None,) * len(whole))
        return tuple(size if places is None else len(places) for size, places in zip(whole, kept, strict=True))

    def stored_name(self, name: str) -> str:
        """Return the name that a tensor has in its file."""
        return self._whole.stored_name(name)

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        values = self._whole.array(name)
        for axis, places in enumerate(self._places.get(name, ())):
            if places is not None:
                values = values.take(places, axis)
        return values


def _places(architecture: Architecture, kept: KeptWidth) -> Iterator[tuple[str, tuple[Places | None, ...]]]:
    """Give the name of every tensor that is cut, with the places that are kept along each of its axes, None for all.

    Heads stand in the order of their layer's list, and what a family calls a head's layers is cut whatever the task.
    """
    channels = np.array(kept.channels, np.int64)
    tables = (architecture.word_embeddings, architecture.position_embeddings, architecture.token_type_embeddings)
    yield from ((table, (None, channels)) for table in tables if table is not None)
    if architecture.embeddings_norm is not None:
        yield from _norm(architecture.embeddings_norm, channels)
    if architecture.relative_bias is not None:
        yield architecture.relative_bias.weight, (None, np.array(kept.heads[0], np.int64))
    for names, heads, neurons in zip(architecture.layer_names, kept.heads, kept.neurons, strict=True):
        of_heads = places_of_heads(heads, architecture.head_size)
        yield from _layer(names, channels, of_heads, np.array(neurons, np.int64))
    for module, _ in architecture.dense:
        yield from _linear(module, channels, channels)
    for module in {architecture.classifier, "classifier", architecture.spans}:
        yield f"{module}.weight", (None, channels)


def places_of_heads(heads: tuple[int, ...], size: int) -> Places:
    """Return the channels of some heads, each so wide."""
    return (np.array(heads, np.int64)[:, None] * size + np.arange(size)).ravel()


def _layer(
    names: LayerNames, channels: Places, heads: Places, neurons: Places
) -> Iterator[tuple[str, tuple[Places | None, ...]]]:
    for module in (names.query, names.key, names.value):
        yield from _linear(module, heads, channels)
    yield from _linear(names.attention_output, channels, heads)
    yield from _linear(names.intermediate, neurons, channels)
    yield from _linear(names.output, channels, neurons)
    for module in (names.attention_norm, names.output_norm):
        yield from _norm(module, channels)


def _linear(module: str, rows: Places, columns: Places) -> Iterator[tuple[str, tuple[Places | None, ...]]]:
    yield f"{module}.weight", (rows, columns)
    yield f"{module}.bias", (rows,)


def _norm(module: str, channels: Places) -> Iterator[tuple[str, tuple[Places | None, ...]]]:
    yield f"{module}.weight", (channels,)
    yield f"{module}.bias", (channels,)
