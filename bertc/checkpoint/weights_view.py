"""A model's weights under other names or in another form than their files have: what such views have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights


class WeightsView:
    """Shows weights as they are, under their own names; see `Weights` for the interface.

    A subclass says where a name is read (`source`), and what is made of what was read there (`shown_shape`, `shown`).
    """

    def __init__(self, whole: Weights, names: Iterable[str]) -> None:
        """Take the weights, and the names that they have here, in order."""
        self._whole = whole
        self._names = tuple(names)
        self._known = frozenset(self._names)
        self.files = whole.files

    def source(self, name: str) -> tuple[Weights, str]:
        """Return the weights among which a tensor is, and its name there."""
        return self._whole, name

    def shown_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a tensor's shape here; `shape` is the one that it is read with."""
        return shape

    def shown(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a tensor as it is here."""
        return array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._known

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        weights, own = self.source(name)
        return self.shown_shape(name, weights.shape(own))

    def stored_name(self, name: str) -> str:
        """Return the name of the tensor in its file. Raises `InputError` if it is missing."""
        weights, own = self.source(name)
        return weights.stored_name(own)

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        weights, own = self.source(name)
        return self.shown(name, weights.array(own))
