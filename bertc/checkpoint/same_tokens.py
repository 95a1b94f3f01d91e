"""Whether two checkpoints read the same tokens in a text: only then can their outputs be compared one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bertc.checkpoint.checkpoint import Checkpoint
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.core.feature import Feature

COMPARED_ROWS = 64
"""Rows of text that are enough to tell."""


def same_tokens(first: Checkpoint, second: Checkpoint, features_of: Callable[[TextEncoder], Sequence[Feature]]) -> bool:
    """Say whether the tokenizers of two checkpoints give the same ids; `features_of` encodes the text with one."""
    ours, theirs = features_of(first.encoder), features_of(second.encoder)
    return len(ours) == len(theirs) and all(
        np.array_equal(a.input_ids, b.input_ids) for a, b in zip(ours, theirs, strict=True)
    )
