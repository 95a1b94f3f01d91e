"""Keys and values that several heads of queries share (grouped-query attention), with a head for each of those.

Ainslie et al. 2023, arXiv:2305.13245. A file has the rows of `heads / shared` heads; here each head's rows stand there
as often as heads of queries share it, side by side as in transformers' `repeat_kv`, so that whatever reads the weights
knows one kind of attention. What is written back has them once (`bertc.checkpoint.write`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.weights_view import WeightsView
from bertc.errors import InputError
from bertc.ir.architecture import Architecture

LEAVES = ("weight", "bias")


class RepeatedHeads(WeightsView):
    """A model's weights, with the heads of keys and values repeated; see `Weights` for the interface."""

    def __init__(self, whole: Weights, architecture: Architecture) -> None:
        """Take the weights. Raises `InputError` for rows that are not those of config.json's heads."""
        super().__init__(whole, whole)
        self._architecture = architecture
        self._shared = shared_names(architecture)
        rows = architecture.attention_size // architecture.shared_heads
        for name in self._shared & self._known:
            found = whole.shape(name)[0]
            if found != rows:
                raise InputError(
                    f"{whole.files[0]}: {name} has {found} rows where config.json implies {rows}, of "
                    f"{architecture.heads // architecture.shared_heads} heads; they do not belong together"
                )

    def shown_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with all heads."""
        return (shape[0] * self._architecture.shared_heads, *shape[1:]) if name in self._shared else shape

    def shown(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Repeat each head."""
        if name not in self._shared:
            return array
        heads = array.reshape(-1, self._architecture.head_size, *array.shape[1:])
        return np.repeat(heads, self._architecture.shared_heads, axis=0).reshape(-1, *array.shape[1:])


def shared_names(architecture: Architecture) -> frozenset[str]:
    """Return the names of the tensors whose heads are shared; none in a model that shares none."""
    if architecture.shared_heads == 1:
        return frozenset()
    modules = [module for each in architecture.layer_names for module in (each.key, each.value)]
    return frozenset(f"{module}.{leaf}" for module in modules for leaf in LEAVES)


def values_once(architecture: Architecture, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a tensor as it lies in its file: with each of its heads once where several heads of queries share it.

    The first copy stands for all: what changes weights here does the same to each, but for the order of its sums.
    """
    if name not in shared_names(architecture):
        return values
    copies = values.reshape(-1, architecture.shared_heads, architecture.head_size, *values.shape[1:])
    assert np.isclose(copies, copies[:, :1]).mean() > 0.99, f"{name}: copies of a head were changed apart"
    return np.ascontiguousarray(copies[:, 0]).reshape(-1, *values.shape[1:])
