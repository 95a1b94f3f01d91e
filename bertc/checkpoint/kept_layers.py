"""A checkpoint with some of its layers left out: what a smaller student begins as."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Checkpoint, Weights
from bertc.checkpoint.config_json import CONFIG_FILE
from bertc.errors import InputError
from bertc.ir.architecture import LayerNames


def spaced_layers(layers: int, of: int) -> tuple[int, ...]:
    """Return which `layers` of `of` layers are kept: evenly spaced, and always the last, which the head reads.

    As in DistilBERT (Sanh et al. 2019, arXiv:1910.01108, section 3) and TinyBERT (Jiao et al. 2020, arXiv:1909.10351).

    >>> spaced_layers(3, 6), spaced_layers(4, 6)
    ((1, 3, 5), (0, 2, 3, 5))
    """
    return tuple((place + 1) * of // layers - 1 for place in range(layers))


def checkpoint_with_layers(checkpoint: Checkpoint, layers: int) -> Checkpoint:
    """Return a checkpoint with `layers` of its layers, renumbered; the weights stay where they are until they are read.

    Its digest is its own, and ranges of other tools, which belong to the whole model, are left out. Raises `InputError`
    where there are not fewer layers than before, and for layers that cannot stand alone.
    """
    architecture = checkpoint.architecture
    _check_layers(checkpoint, layers)
    kept = spaced_layers(layers, architecture.layers)
    weights = KeptLayers(checkpoint.weights, [layer_prefix(names) for names in architecture.layer_names], kept)
    origin = f"{checkpoint.digest} layers {kept}"
    return replace(
        checkpoint,
        config={**checkpoint.config, architecture.layers_field: layers},
        weights=weights,
        digest=hashlib.sha256(origin.encode()).hexdigest(),
        parameters=sum(math.prod(weights.shape(name)) for name in weights),
        files=tuple(file for file in checkpoint.files if file != checkpoint.weights.files[0].parent / CONFIG_FILE),
        quantizers={},
    )


def _check_layers(checkpoint: Checkpoint, layers: int) -> None:
    """Refuse a number of layers that is no fewer, and a model whose layers do not stand alone."""
    architecture = checkpoint.architecture
    if layers >= architecture.layers:
        raise InputError(
            f"{checkpoint.path} has {architecture.layers} layers, and a student of {layers} is no smaller; choose "
            "fewer with --layers"
        )
    reason = None
    if architecture.shares_layers:
        reason = "share their weights"
    elif architecture.norm_first:
        reason = "have their norms first"
    elif checkpoint.head.layer_weights is not None:
        reason = "are all read by its head"
    if reason is not None:
        raise InputError(
            f"{checkpoint.path}: the layers of this model ({checkpoint.family}) {reason}, so bertc leaves none out; "
            "train a smaller one with transformers, and build that"
        )


def layer_prefix(names: LayerNames) -> str:
    """Return what the names of a layer's weights begin with: `encoder.layer.3.`."""
    words = zip(*(name.split(".") for name in (names.query, names.intermediate)), strict=False)
    return "".join(f"{one}." for one, _ in takewhile(lambda pair: pair[0] == pair[1], words))


class KeptLayers:
    """The weights of a model without some of its layers; see `Weights` for the interface."""

    def __init__(self, whole: Weights, prefixes: Sequence[str], kept: Sequence[int]) -> None:
        """Take the weights, what the names of each layer's begin with, and the layers to keep, in order."""
        self._whole = whole
        self._prefixes = {prefixes[layer]: prefixes[place] for place, layer in enumerate(kept)}
        self._sources: Mapping[str, tuple[str, str]] = dict(self._named(prefixes))
        self.files = whole.files

    def _named(self, prefixes: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
        """Give every kept tensor's name, its name in the whole model, and the prefix that it has there."""
        for name in self._whole:
            prefix = next((each for each in prefixes if name.startswith(each)), "")
            if not prefix:
                yield name, (name, "")
            elif prefix in self._prefixes:
                yield self._prefixes[prefix] + name.removeprefix(prefix), (name, prefix)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._sources)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._sources

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        return self._whole.shape(self._source(name))

    def stored_name(self, name: str) -> str:
        """Return the name in a file of this model: that in the whole one's, with the layer's new number."""
        stored = self._whole.stored_name(self._source(name))
        _, prefix = self._sources[name]
        return stored.replace(prefix, self._prefixes[prefix]) if prefix else stored

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        return self._whole.array(self._source(name))

    def _source(self, name: str) -> str:
        """Return a tensor's name in the whole model; one that is not here is missing there too, and refused there."""
        return self._sources.get(name, (name, ""))[0]
