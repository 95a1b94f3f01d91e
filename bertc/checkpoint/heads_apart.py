"""Weights that a family stores with an axis of heads, given as the matrices and biases of linear layers.

XLNet's projections are [in, heads, head size] or [out, heads, head size] and have names without `.weight`. The graph
and pruning know [out, in]; what is written back has its heads apart again (`bertc.checkpoint.write`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights
from bertc.errors import InputError
from bertc.ir.architecture import Architecture


class JoinedHeads:
    """A model's weights, those with their heads apart under the names of linear layers; see `Weights`."""

    def __init__(self, whole: Weights, architecture: Architecture) -> None:
        """Take the weights. Raises `InputError` for heads that are not those of config.json."""
        self._whole = whole
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
        self._names = tuple(shown.get(name, name) for name in whole)
        self._known = frozenset(self._names)
        self.files = whole.files

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._known

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        if name not in self._apart:
            return self._whole.shape(name)
        *others, heads, size = self._whole.shape(self._apart[name].name)
        joined = (*others, heads * size)
        return joined[::-1] if self._apart[name].turned else joined

    def stored_name(self, name: str) -> str:
        """Return the name of the tensor in its file. Raises `InputError` if it is missing."""
        return self._whole.stored_name(self._apart[name].name if name in self._apart else name)

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        if name not in self._apart:
            return self._whole.array(name)
        stored = self._whole.array(self._apart[name].name)
        joined = stored.reshape(*stored.shape[:-2], -1)
        return np.ascontiguousarray(joined.T if self._apart[name].turned else joined)


def stored_values(architecture: Architecture, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a tensor as it lies in its file: with its heads apart where the family stores it so."""
    apart = architecture.apart.get(name)
    if apart is None:
        return values
    joined = values.T if apart.turned else values
    return joined.reshape(*joined.shape[:-1], architecture.heads, architecture.head_size)
