"""For which shapes TensorRT compiles: a few ranges of lengths, made of the lengths of the texts that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

STEP = 32
"""Lengths of ranges are multiples of this, as the kernels' tiles are."""

MOST_TOKENS = 16384
"""Most tokens of a batch: it bounds the memory that an engine reserves."""

PROFILES_KEY = "bertc.profiles"
"""Where an ONNX file says the profiles of the engine to build from it."""

USUAL_BATCH = 8
PERCENTILES = (50, 95)
Range = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Batch size and length, each at least, usually and at most. An engine is fastest at the usual ones."""

    batch: Range
    length: Range


def profiles_from_lengths(lengths: Sequence[int], longest: int) -> tuple[Profile, ...]:
    """Return profiles by rising length: up to the median of `lengths`, to almost all, and to `longest`.

    >>> [profile.length for profile in profiles_from_lengths([10, 20, 60], 128)]
    [(1, 32, 32), (1, 64, 64), (1, 64, 128)]
    """
    borders = {min(longest, _rounded(float(np.percentile(lengths, part)))) for part in PERCENTILES if lengths}
    usual = max(borders, default=min(longest, 4 * STEP))
    return tuple(
        _profile(longest=border, usual=min(border, usual) if border == longest else border)
        for border in sorted(borders | {longest})
    )


def text_from_profiles(profiles: Sequence[Profile]) -> str:
    """Write profiles as one line of JSON."""
    return json.dumps([asdict(profile) for profile in profiles])


def profiles_from_text(text: str) -> tuple[Profile, ...]:
    """Read what `text_from_profiles` wrote."""
    return tuple(Profile(**{name: tuple(found) for name, found in each.items()}) for each in json.loads(text))


def _rounded(length: float) -> int:
    return int(-(-length // STEP)) * STEP


def _profile(*, longest: int, usual: int) -> Profile:
    most = max(1, MOST_TOKENS // longest)
    return Profile(batch=(1, min(USUAL_BATCH, most), most), length=(1, usual, longest))
