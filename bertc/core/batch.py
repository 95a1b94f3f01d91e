"""Features to padded or packed batches: what feeds any engine. Part of the shared language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Features padded on the right to one length: int64 [rows, length]; mask 1 for a token, -1 for one nothing sees.

    Several features can share a row: the mask of each one's tokens then is 1 + the column in which it starts
    (`bertc.ir.sentences`), and `starts` says where that is.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    order: tuple[int, ...]
    """The features' places in the caller's sequence."""

    starts: tuple[tuple[int, int], ...] = ()
    """Row and column of each feature's first token, row by row; empty where each has a row of its own."""

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.order)

    def start(self, number: int) -> tuple[int, int]:
        """Return the row and column in which the feature `order[number]` starts."""
        return self.starts[number] if self.starts else (number, 0)

    def feeds(self, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs a session asks for; in a graph's mask, what nothing sees is as padding is."""
        mask = self.mask if self.mask.min(initial=0) == 0 else np.maximum(self.mask, 0)
        every = {"input_ids": self.input_ids, "attention_mask": mask, "token_type_ids": self.token_type_ids}
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
        if feature.seen is not None:
            mask[row, feature.seen : feature.length] = -1
    return Batch(input_ids=ids, token_type_ids=types, mask=mask, order=tuple(order))


def packed_batch_from_features(features: Sequence[Feature], rows: Sequence[Sequence[int]]) -> Batch:
    """Put the features at each row's places beside each other and pad the rows to the longest of them.

    All of their tokens are seen: in a graph, what is not belongs to the row's first text.
    """
    assert all(features[place].seen is None for row in rows for place in row)
    length = max(sum(features[place].length for place in row) for row in rows)
    ids, types, mask = (np.zeros((len(rows), length), np.int64) for _ in range(3))
    starts = []
    for number, row in enumerate(rows):
        column = 0
        for place in row:
            feature = features[place]
            end = column + feature.length
            ids[number, column:end] = feature.input_ids
            types[number, column:end] = feature.token_type_ids
            mask[number, column:end] = column + 1
            starts.append((number, column))
            column = end
    order = tuple(place for row in rows for place in row)
    return Batch(input_ids=ids, token_type_ids=types, mask=mask, order=order, starts=tuple(starts))


def batches_from_features(features: Sequence[Feature], tokens: int) -> Iterator[Batch]:
    """Sort by length and cut into batches of at most `tokens` padded tokens (a longer feature comes alone)."""
    for places in groups_by_length([feature.length for feature in features], tokens):
        yield batch_from_features(features, places)


def groups_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Sort places by length and cut them into groups of at most `tokens` padded tokens; a longer one comes alone.

    >>> groups_by_length([7, 2, 3], 6)
    [[1, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    groups = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= tokens:
            stop += 1
        groups.append(order[start:stop])
        start = stop
    return groups
