"""A batch without its padding: the tokens of all texts in one row, and where each text begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.errors import InputError

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """ids, types and places (positions in the text) are int32 [tokens]; ends int32 [texts + 1]: tokens before each.

    `cells` are the tokens' places in the padded batch, [tokens].
    """

    ids: Ids
    types: Ids
    places: Ids
    ends: Ids
    cells: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return len(self.ids)

    @property
    def count(self) -> int:
        """Number of texts."""
        return len(self.ends) - 1

    @property
    def lengths(self) -> Ids:
        """Tokens of each text."""
        return np.diff(self.ends)

    def blocks(self, rows: int) -> Ids:
        """Return a text and its first query for each block of so many queries, int32 [blocks, 2].

        >>> texts_of_lengths([3, 5]).blocks(4).tolist()
        [[0, 0], [1, 0], [1, 4]]
        """
        counts = -(-self.lengths // rows)
        text = np.repeat(np.arange(self.count), counts)
        before = np.cumsum(counts) - counts
        return np.stack((text, (np.arange(len(text)) - before[text]) * rows), 1).astype(np.int32)

    def marked(self, token: int) -> Ids:
        """Return the row of each text's first token with an id, its first token's if none has it, [texts]."""
        rows = np.where(self.ids == token, np.arange(self.tokens), self.tokens)
        first = np.minimum.reduceat(rows, self.ends[:-1])
        return np.where(first < self.ends[1:], first, self.ends[:-1]).astype(np.int32)


def texts_of_lengths(lengths: list[int]) -> Texts:
    """Return texts of id 0."""
    zeros = np.zeros(sum(lengths), np.int32)
    ends = np.cumsum([0, *lengths]).astype(np.int32)
    places = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    return Texts(ids=zeros, types=zeros, places=places, ends=ends, cells=np.arange(len(zeros)))


def texts_from_batch(batch: Batch) -> Texts:
    """Take the padding out of a batch, whose rows may hold several texts.

    Raises `InputError` for arrays of different shapes, for tokens that nothing sees, and for a text without a token or
    that does not start in the column that its mask names.
    """
    if batch.mask.ndim != 2 or not batch.input_ids.shape == batch.token_type_ids.shape == batch.mask.shape:
        shapes = [list(each.shape) for each in (batch.input_ids, batch.token_type_ids, batch.mask)]
        raise InputError(
            f"a batch has ids {shapes[0]}, types {shapes[1]} and a mask {shapes[2]}; give all of them one shape [rows, "
            "length]"
        )
    if batch.mask.min(initial=0) < 0:
        raise InputError("a batch has tokens that nothing attends to, which this engine cannot run; use ort-cpu")
    cells = np.flatnonzero(batch.mask)
    starts_in = batch.mask.reshape(-1)[cells] - 1
    places = cells % batch.mask.shape[1] - starts_in
    begins = np.flatnonzero(places == 0)
    ends = np.append(begins, len(cells)).astype(np.int32)
    steady = np.diff(places, append=0) == 1
    steady[ends[1:] - 1] = True
    if len(begins) != len(batch.order) or (len(cells) and begins[0] != 0) or not steady.all():
        raise InputError(
            f"a batch of {len(batch.order)} texts has a mask with {len(begins)}, or a text that does not start in the "
            "column that its mask names; give every text a token, and let padding stand on the right"
        )
    return Texts(
        ids=_int32(batch.input_ids.reshape(-1)[cells]),
        types=_int32(batch.token_type_ids.reshape(-1)[cells]),
        places=places.astype(np.int32),
        ends=ends,
        cells=cells,
    )


def _int32(values: NDArray[Any]) -> Ids:
    """Convert ids; those that int32 cannot hold stay outside of every table."""
    found: Ids = np.clip(values, -1, np.iinfo(np.int32).max).astype(np.int32)
    return found
