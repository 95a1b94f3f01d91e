"""The `Checkpoint` value: configuration, lazily mapped weights, tokenizer, head and digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.text_encoder import TextEncoder
from bertc.core.head import Exit, Head
from bertc.core.plugins import FAMILIES
from bertc.ir.architecture import Architecture


class Weights(Protocol):
    """Named weights, read from disk only when asked for. `files` are the files they lie in."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The weight files."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""

    def stored_name(self, name: str) -> str:
        """Return the name that a tensor has in its file."""

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing, truncated, or holds NaN or infinity."""


@dataclass(frozen=True, kw_only=True)  # without slots, which have no place for a cached property
class Checkpoint:
    """A trained model as read from a directory.

    `digest` is the sha256 over configuration, weights and tokenizer; `ignored_bytes` is the size of tensors that are
    no part of the model (an optimizer's slots), `parameters` the number of weights that are. `files` are the files
    beside the weights: configuration, tokenizer, modules. `quantizers` are the buffers of other tools' fake quantizers
    by name, which are no parameters. `exits` are the classifiers that it has behind layers before the last, of which
    those in `head` are computed. `notes` are sentences on what was done to the files' content, for the report.
    """

    path: Path
    family: str
    config: Mapping[str, Any]
    weights: Weights
    encoder: TextEncoder
    head: Head
    digest: str
    parameters: int
    ignored_bytes: int = 0
    files: tuple[Path, ...] = ()
    quantizers: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    exits: tuple[Exit, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def architecture(self) -> Architecture:
        """Its dimensions and the names of its weights, from the family's file; refuses what only looks like one."""
        return architecture_from_config(self.family, self.config)


def architecture_from_config(family: str, config: Mapping[str, Any]) -> Architecture:
    """Return the dimensions and weights' names that a family's file reads from config.json; refuses what it says."""
    architecture: Architecture = FAMILIES.module(family).architecture_from_config(config)
    return architecture
