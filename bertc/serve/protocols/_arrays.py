"""What an engine says of several texts, as the arrays of one answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bertc.jobs.predict import Predictor
from bertc.serve.refused import Reason, RefusalError
from bertc.tasks import outputs_from_head

Array = NDArray[np.float32]
MOST_NUMBERS = 1 << 26
"""Numbers of an array that is padded: 256 MiB. What padding costs no request's limit counts: it is not run."""


def batched(predictor: Predictor, arrays: Mapping[str, Sequence[Array]], length: int | None) -> dict[str, Array]:
    """Return arrays of texts as one each; those per token are padded to a length, without one to the longest text.

    Raises `RefusalError` where padding would make an array of more than `MOST_NUMBERS`.
    """
    found = {}
    for output in outputs_from_head(predictor.head):
        if output.name in arrays:
            each = arrays[output.name]
            longest = max(map(len, each)) if length is None else length
            found[output.name] = _padded(each, longest) if output.per_token else np.stack(each)
    return found


def _padded(arrays: Sequence[Array], length: int) -> Array:
    """Return arrays [tokens, ...] of several texts as [texts, length, ...], with 0 where a text has no token."""
    shape = (len(arrays), length, *arrays[0].shape[1:])
    if math.prod(shape) > MOST_NUMBERS:
        raise RefusalError(
            Reason.TOO_LARGE,
            f"the answer would have {math.prod(shape)} numbers, and has {MOST_NUMBERS} at most; send fewer texts, "
            "those of about one length together",
        )
    found = np.zeros(shape, np.float32)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return found
