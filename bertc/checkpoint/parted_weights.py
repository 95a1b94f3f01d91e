"""Weights that a family stores as one tensor, given under the names of their parts.

Query, key and value of one attention are often the rows of a single matrix. The graph, pruning and training know three;
what is written back is one again (`bertc.checkpoint.write`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Weights
from bertc.errors import InputError

LEAVES = (".weight", ".bias")


class PartedWeights:
    """A model's weights, the joined ones by their parts, in order; see `Weights` for the interface."""

    def __init__(self, whole: Weights, joined: Mapping[str, tuple[str, ...]]) -> None:
        """Take the weights and, by the prefix of each that is joined, the prefixes of its parts.

        Raises `InputError` for a joined weight whose rows do not divide.
        """
        self._whole = whole
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
        self._names = tuple(names)
        self._known = frozenset(names)
        self.files = whole.files

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names, the parts of one tensor in the order of its rows."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._known

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        if name not in self._parts:
            return self._whole.shape(name)
        joined, _, rows = self._parts[name]
        return (rows, *self._whole.shape(joined)[1:])

    def stored_name(self, name: str) -> str:
        """Return the name of the tensor in its file, of which this may be a part. Raises `InputError` without one."""
        return self._whole.stored_name(self._parts.get(name, (name,))[0])

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        if name not in self._parts:
            return self._whole.array(name)
        joined, start, rows = self._parts[name]
        return np.ascontiguousarray(self._whole.array(joined)[start : start + rows])
