"""What the engines read: texts as token ids in one file, and batches made of them. Needs numpy alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Feature = tuple[Ids, Ids]
"""input_ids and token_type_ids, without padding."""

Feeds = dict[str, Ids]
LONGEST_RUN = 1 << 20
SPECIAL = 2  # tokens that stand around a text


def write_inputs(folder: Path, texts: Mapping[str, Sequence[Feature]], shapes: Sequence[tuple[int, int]]) -> Path:
    """Write texts by name, and a batch of each shape, cut from the first text's tokens so that nothing is padding.

    The file is named by its content: another run in the same folder leaves it alone.
    """
    arrays: dict[str, Ids] = {}
    for name, features in texts.items():
        arrays[f"{name}.ids"] = np.concatenate([ids for ids, _ in features])
        arrays[f"{name}.types"] = np.concatenate([types for _, types in features])
        arrays[f"{name}.lengths"] = np.array([len(ids) for ids, _ in features], np.int64)
    first = next(iter(texts.values()))
    begin, end = first[0][0][0], first[0][0][-1]
    words = np.concatenate([ids[1:-1] for ids, _ in first])
    words = words[(words != begin) & (words != end)]
    for batch, length in shapes:
        filling = np.resize(words, (batch, length - SPECIAL))
        arrays[f"shape.{batch}x{length}"] = np.column_stack(
            [np.full(batch, begin), filling, np.full(batch, end)]
        ).astype(np.int64)
    sha = hashlib.sha256()
    for name, array in arrays.items():
        sha.update(name.encode() + array.tobytes())
    path = folder / f"inputs-{sha.hexdigest()[:12]}.npz"
    if not path.exists():
        work = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(work, **arrays)  # type: ignore[arg-type]
        work.replace(path)
    return path


class Inputs:
    """A file of `write_inputs`."""

    def __init__(self, path: Path) -> None:
        self._arrays = np.load(path)

    def shape(self, name: str) -> Feeds:
        """Return the batch of a shape, "16x128"."""
        ids = np.ascontiguousarray(self._arrays[f"shape.{name}"])
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    def features(self, name: str) -> list[Feature]:
        """Return a text's features."""
        ends = np.cumsum(self._arrays[f"{name}.lengths"])[:-1]
        ids, types = (np.split(self._arrays[f"{name}.{part}"], ends) for part in ("ids", "types"))
        return list(zip(ids, types, strict=True))


def padded(features: Sequence[Feature]) -> Feeds:
    """Pad features on the right to the longest of them."""
    shape = (len(features), max(len(ids) for ids, _ in features))
    ids, types, mask = (np.zeros(shape, np.int64) for _ in range(3))
    for row, (words, kinds) in enumerate(features):
        ids[row, : len(words)] = words
        types[row, : len(words)] = kinds
        mask[row, : len(words)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def ordered(features: Sequence[Feature], order: str) -> list[int]:
    """Return the places of features in an order: "arrival" or "sorted" (by length)."""
    places = list(range(len(features)))
    return places if order == "arrival" else sorted(places, key=lambda place: len(features[place][0]))
