"""Encoded text: rows of a data set with their features, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertc.core.feature import Feature
from bertc.core.keys import Key
from bertc.data.reading import Reading
from bertc.data.rows import Row


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
