"""What an engine says of several texts, as the arrays of one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bertc.jobs.predict import Predictor
from bertc.tasks import outputs_from_head

Array = NDArray[np.float32]


def batched(predictor: Predictor, arrays: Mapping[str, Sequence[Array]], length: int | None) -> dict[str, Array]:
    """Return arrays of texts as one each; those per token are padded to a length, without one to the longest text."""
    found = {}
    for output in outputs_from_head(predictor.head):
        if output.name in arrays:
            each = arrays[output.name]
            longest = max(map(len, each)) if length is None else length
            found[output.name] = _padded(each, longest) if output.per_token else np.stack(each)
    return found


def _padded(arrays: Sequence[Array], length: int) -> Array:
    """Return arrays [tokens, ...] of several texts as [texts, length, ...], with 0 where a text has no token."""
    found = np.zeros((len(arrays), length, *arrays[0].shape[1:]), np.float32)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return found
