"""Encoded text: rows of a data set with their features, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature
from bertc.core.keys import Key
from bertc.data.reading import Reading
from bertc.data.rows import Row

SHARD_ROWS = 1024
"""Rows whose windows and outputs are in memory at a time: 10 MiB for SQuAD, and enough to sort batches by length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows, checked by the task, and their features of at most `max_length` tokens.

    `path` is as the user wrote it, `digest` is that of the whole file's rows, `seed` that of the sample (None: no
    sample was taken), `reading` how the file was read, where that is told.
    """

    path: str
    digest: str
    rows: tuple[Row, ...]
    features: tuple[Feature, ...]
    max_length: int
    seed: int | None = None
    reading: Reading | None = None

    @property
    def origin(self) -> Mapping[str, Any]:
        """Where the text came from, as a calibration table says it."""
        return {
            "data": self.path,
            "digest": self.digest,
            "seed": self.seed,
            "max_length": self.max_length,
            "row_hashes": [row.hash for row in self.rows],
        }

    @property
    def lengths(self) -> tuple[int, ...]:
        """The features' numbers of tokens."""
        return tuple(feature.length for feature in self.features)

    def cache_key(self) -> Key:
        """Return the digest of the tokens, in order: all that a model reads of it, wherever the text lies."""
        digest = hashlib.sha256()
        for feature in self.features:
            digest.update(feature.cache_key().encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Streamed:
    """Any number of rows, checked by the task, that are encoded when they are needed and a shard at a time.

    `encode` makes features of at most `max_length` tokens of rows. `path` and `digest` are as for `Encoded`, `reading`
    says how the file was read. `lengths`, int32, are all features' numbers of tokens; `unknown` are how many tokens
    of the text the tokenizer does not know, and how many there are.
    """

    path: str
    digest: str
    rows: tuple[Row, ...]
    encode: Callable[[Sequence[Row]], Sequence[Feature]]
    max_length: int
    reading: Reading
    lengths: NDArray[np.int32]
    unknown: tuple[int, int]

    def shards(self) -> Iterator[Encoded]:
        """Encode the rows, a shard at a time."""
        return map(self._encoded, row_shards(self.rows))

    def sample(self) -> Encoded:
        """Encode as many rows as a shard has, evenly spread: all of a set that is no larger."""
        return self._encoded(self.rows[:: -(-len(self.rows) // SHARD_ROWS)])

    def _encoded(self, rows: tuple[Row, ...]) -> Encoded:
        features = tuple(self.encode(rows))
        return Encoded(path=self.path, digest=self.digest, rows=rows, features=features, max_length=self.max_length)


def row_shards(rows: tuple[Row, ...]) -> Iterator[tuple[Row, ...]]:
    """Cut rows into shards, in their order."""
    return (rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS))
