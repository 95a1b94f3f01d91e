"""Features to padded batches: what feeds any engine. Part of the shared language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertc.features import Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Features padded on the right to one length: int64 [batch, length], mask 1 for a token."""

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    order: tuple[int, ...]
    """The features' places in the caller's sequence."""

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.order)

    def feeds(self, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs a session asks for."""
        every = {"input_ids": self.input_ids, "attention_mask": self.mask, "token_type_ids": self.token_type_ids}
        return {name: every[name] for name in names}


def batch_from_features(features: Sequence[Feature], order: Sequence[int]) -> Batch:
    """Pad the features at `order` to the longest of them. Padding has id 0, which the mask hides."""
    length = max(features[place].length for place in order)
    shape = (len(order), length)
    ids, types, mask = (np.zeros(shape, np.int64) for _ in range(3))
    for row, place in enumerate(order):
        feature = features[place]
        ids[row, : feature.length] = feature.input_ids
        types[row, : feature.length] = feature.token_type_ids
        mask[row, : feature.length] = 1
    return Batch(input_ids=ids, token_type_ids=types, mask=mask, order=tuple(order))


def batches_from_features(features: Sequence[Feature], tokens: int) -> Iterator[Batch]:
    """Sort by length and cut into batches of at most `tokens` padded tokens (a longer feature comes alone)."""
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and features[order[stop]].length * (stop + 1 - start) <= tokens:
            stop += 1
        yield batch_from_features(features, order[start:stop])
        start = stop
