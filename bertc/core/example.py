"""What training reads: a feature with the truth about it. Part of the shared language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature

IGNORED = -100
"""The tag of a token that has none: special tokens, padding, and all but the first piece of a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A feature and what its outputs are compared with.

    `scored` [length] marks the tokens whose outputs the task reads, say the first piece of every word; None where an
    output belongs to the whole text. `gold` is the truth in the task's own form: an array for the whole text, or one
    whose last axis is [length] where `scored` is given (int64 entries are padded with `IGNORED`, others with 0). It is
    None without a label. `outputs` counts what is compared with a teacher (the words of a tagger, else 1), `labelled`
    those of them that have a label.
    """

    feature: Feature
    scored: NDArray[np.bool_] | None = None
    gold: NDArray[Any] | None = None
    outputs: int = 1
    labelled: int = 0
