"""Weights that a family stores as one tensor, given under the names of their parts.

Query, key and value of one attention are often the rows of a single matrix. The graph, pruning and training know three;
what is written back is one again (`bertc.checkpoint.write`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.weights_view import WeightsView
from bertc.errors import InputError

LEAVES = (".weight", ".bias")


class PartedWeights(WeightsView):
    """A model's weights, the joined ones by their parts, in order; see `Weights` for the interface."""

    def __init__(self, whole: Weights, joined: Mapping[str, tuple[str, ...]]) -> None:
        """Take the weights and, by the prefix of each that is joined, the prefixes of its parts.

        Raises `InputError` for a joined weight whose rows do not divide.
        """
        self._parts: dict[str, tuple[str, int, int]] = {}
        names: list[str] = []
        for name in whole:
            prefix, leaf = name[: name.rfind(".")], name[name.rfind(".") :]
            parts = joined.get(prefix, ()) if leaf in LEAVES else ()
            rows = whole.shape(name)[0] if parts else 0
            if parts and rows % len(parts):
                raise InputError(
                    f"{whole.files[0]}: {name} has {rows} rows, which are not {len(parts)} equal parts; use a "
                    "checkpoint of this architecture"
                )
            for number, part in enumerate(parts):
                size = rows // len(parts)
                self._parts[part + leaf] = (name, number * size, size)
            names += [part + leaf for part in parts] or [name]
        super().__init__(whole, names)

    def source(self, name: str) -> tuple[Weights, str]:
        """Return where the tensor is that has a part's rows."""
        return self._whole, self._parts.get(name, (name,))[0]

    def shown_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a part."""
        return (self._parts[name][2], *shape[1:]) if name in self._parts else shape

    def shown(self, name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a part's rows."""
        if name not in self._parts:
            return array
        _, start, rows = self._parts[name]
        return np.ascontiguousarray(array[start : start + rows])
