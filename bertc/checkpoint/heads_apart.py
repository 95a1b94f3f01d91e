"""Weights that a family stores with an axis of heads, given as the matrices and biases of linear layers.

XLNet's projections are [in, heads, head size] or [out, heads, head size] and have names without `.weight`. The graph
and pruning know [out, in]; what is written back has its heads apart again (`bertc.checkpoint.write`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.weights_view import WeightsView
from bertc.errors import InputError
from bertc.ir.architecture import Architecture


class JoinedHeads(WeightsView):
    """A model's weights, those with their heads apart under the names of linear layers; see `Weights`."""

    def __init__(self, whole: Weights, architecture: Architecture) -> None:
        """Take the weights. Raises `InputError` for heads that are not those of config.json."""
        self._apart = architecture.apart
        self._heads = (architecture.heads, architecture.head_size)
        shown = {apart.name: name for name, apart in self._apart.items()}
        for name in whole:
            shape = whole.shape(name)
            if name in shown and shape[-2:] != self._heads:
                raise InputError(
                    f"{whole.files[0]}: {name} has the shape {list(shape)}, which does not end with {self._heads[0]} "
                    f"heads of {self._heads[1]} as config.json implies; they do not belong together"
                )
        super().__init__(whole, [shown.get(name, name) for name in whole])

    def source(self, name: str) -> tuple[Weights, str]:
        """Return where the tensor with its heads apart is."""
        return self._whole, self._apart[name].name if name in self._apart else name

    def shown_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with the heads joined."""
        if name not in self._apart:
            return shape
        *others, heads, size = shape
        joined = (*others, heads * size)
        return joined[::-1] if self._apart[name].turned else joined

    def shown(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Join the heads."""
        if name not in self._apart:
            return array
        joined = array.reshape(*array.shape[:-2], -1)
        return np.ascontiguousarray(joined.T if self._apart[name].turned else joined)


def stored_values(architecture: Architecture, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a tensor as it lies in its file: with its heads apart where the family stores it so."""
    apart = architecture.apart.get(name)
    if apart is None:
        return values
    joined = values.T if apart.turned else values
    return joined.reshape(*joined.shape[:-1], architecture.heads, architecture.head_size)
