"""What an engine gives out: each output's name, and whether it has one entry per token or per text.

Part of the shared language: a task says what its head's outputs are, so that nobody has to guess it by a shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.keys import Key, key_of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a graph and its engines: [batch, length, ...] per token, else [texts, ...].

    `alias` is the task's own name for it where that differs; `read` says whether the task reads it at all (an output
    may be there for users alone).
    """

    name: str
    per_token: bool
    alias: str | None = None
    read: bool = True

    @property
    def key(self) -> str:
        """The name under which a task reads the output."""
        return self.alias or self.name

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


def output_names(outputs: Sequence[Output]) -> tuple[str, ...]:
    """Return the names that an engine is asked for, in the graph's order."""
    return tuple(output.name for output in outputs)


def vector_from_values(
    outputs: Sequence[Output], values: Mapping[str, NDArray[Any]], mask: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return all outputs of a batch as one vector, without those of padding. mask: [batch, length], 0 for padding."""
    tokens = mask.astype(bool)
    parts = [values[each.name][tokens] if each.per_token else values[each.name] for each in outputs]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float64)
