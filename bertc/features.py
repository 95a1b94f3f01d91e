"""What every stage says about text and models: the head of a model, an encoded text, a progress sink.

Part of the shared language: no stage's code belongs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bertc.keys import Key, digest_of_array, key_of_fields


class Problem(StrEnum):
    """What a classification head's scores mean."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"


class Pooling(StrEnum):
    """How token vectors become one sentence vector."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands on the encoder.

    `task` is a module name of `bertc.tasks` with hyphens. `labels[i]` is the name of score i, where the task names its
    scores. `pooling`, `normalize` and `layer_weights` say how token vectors become a text's, where the task does that:
    `layer_weights` mixes the hidden states, one weight per layer output (embeddings first), or None for the last layer
    alone.
    """

    task: str
    labels: tuple[str, ...] = ()
    problem: Problem | None = None
    pooling: Pooling | None = None
    normalize: bool = False
    layer_weights: tuple[float, ...] | None = None

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One encoded model input. A row may give several (windows of a long context).

    `input_ids` and `token_type_ids` are int64 [length], without padding. `row` is the index of the data set row it
    belongs to, `truncated` says that text was cut off to fit. `detail` is the task's own (token offsets, word
    numbers) and means nothing to other code.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    row: int
    truncated: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens, special tokens included."""
        return int(self.input_ids.shape[0])

    def cache_key(self) -> Key:
        """Return what a model reads of it: ids and types."""
        return digest_of_array(np.stack([self.input_ids, self.token_type_ids]))


class Progress(Protocol):
    """Where long work says how far it is. The command line draws a bar; tests and libraries pass `Silent()`."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage of `total` units (None: unknown)."""

    def advance(self, units: int = 1) -> None:
        """Report `units` more done in the current stage."""

    def note(self, text: str) -> None:
        """Say one line that stays on the screen."""


class Silent:
    """A progress sink that says nothing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore a stage."""

    def advance(self, units: int = 1) -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Ignore a line."""


SILENCE = Silent()
