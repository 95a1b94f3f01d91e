"""Rows to examples: every feature with the truth about it, and a seeded part of the data that is held out.

In come checked rows and features; nothing here reads files or knows torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.data.rows import Row
from bertc.features import Feature, Head, Problem

IGNORED = -100
"""The tag of a token that has none: special tokens, padding, and all but the first piece of a word."""

QUESTIONS, TOKENS = "question-answering", "token-classification"
CLASSIFICATION = "sequence-classification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A feature and what its outputs are compared with.

    `scored` [length] marks the tokens whose outputs the task reads: the first piece of every word, or the tokens of
    the context; None where an output belongs to the whole text. `gold` is the label's id int64 [], the labels float32
    [labels] or the score float32 []; for tokens the tags int64 [length] with `IGNORED`; for questions bool
    [2, length], the tokens at which an answer may start and end. It is None without a label. `outputs` counts what is
    compared with a teacher (the words of a tagger, else 1), `labelled` those of them that have a label.
    """

    feature: Feature
    scored: NDArray[np.bool_] | None = None
    gold: NDArray[Any] | None = None
    outputs: int = 1
    labelled: int = 0


def examples_from_rows(rows: Sequence[Row], features: Sequence[Feature], head: Head) -> tuple[Example, ...]:
    """Pair every feature with the truth about its row; rows without labels give examples without `gold`."""
    makers = {TOKENS: _tagged, QUESTIONS: _questioned, CLASSIFICATION: _classified}
    make = makers.get(head.task, _plain)
    return tuple(make(rows[feature.row], feature, head) for feature in features)


def split_rows(rows: Sequence[Row], held_out: int, *, seed: int, task: str) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return (rows to train on, rows held out), each in the given order.

    The same text is never on both sides, nor (for questions) the same context, so the second part may be somewhat
    larger than asked for. Which rows are chosen depends on their texts and the seed, not on their order.
    """
    units: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        unit = row.texts[1] if task == QUESTIONS else row.hash
        units.setdefault(unit, []).append(index)
    chosen: set[int] = set()
    for unit in sorted(units, key=lambda unit: _lot(unit, seed)):
        if len(chosen) >= held_out:
            break
        chosen.update(units[unit])
    kept = tuple(row for index, row in enumerate(rows) if index not in chosen)
    return kept, tuple(row for index, row in enumerate(rows) if index in chosen)


def _lot(unit: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _plain(row: Row, feature: Feature, head: Head) -> Example:
    return Example(feature=feature)


def _classified(row: Row, feature: Feature, head: Head) -> Example:
    if row.label is None:
        return Example(feature=feature)
    if head.problem == Problem.MULTI_LABEL:
        given = np.isin(np.arange(len(head.labels)), row.label)
        return Example(feature=feature, gold=given.astype(np.float32), labelled=1)
    kind = np.float32 if head.problem == Problem.REGRESSION else np.int64
    return Example(feature=feature, gold=np.asarray(row.label, kind), labelled=1)


def _tagged(row: Row, feature: Feature, head: Head) -> Example:
    first, words = feature.detail["first"], feature.detail["words"]
    scored = np.zeros(feature.length, bool)
    scored[first] = True
    if row.tags is None:
        return Example(feature=feature, scored=scored, outputs=len(first))
    tags = np.full(feature.length, IGNORED, np.int64)
    tags[first] = [head.labels.index(row.tags[word]) for word in words]
    return Example(feature=feature, scored=scored, gold=tags, outputs=len(first), labelled=len(first))


def _questioned(row: Row, feature: Feature, head: Head) -> Example:
    """Mark every place where one of the answers stands in the window; a window without one has no gold."""
    inside: NDArray[np.bool_] = feature.detail["context"]
    begins, ends = feature.detail["offsets"].T  # characters of the context, 0 elsewhere
    gold = np.zeros((2, feature.length), bool)
    for answer in row.answers:
        for first in _places(row.texts[1], answer):
            last = first + len(answer) - 1
            start = np.flatnonzero(inside & (begins <= first) & (first < ends))
            end = np.flatnonzero(inside & (begins <= last) & (last < ends))
            if start.size and end.size:
                gold[0, start[0]] = gold[1, end[-1]] = True
    known = bool(gold.any())
    return Example(feature=feature, scored=inside, gold=gold if known else None, labelled=int(known))


def _places(context: str, answer: str) -> list[int]:
    places, place = [], context.find(answer) if answer else -1
    while place >= 0:
        places.append(place)
        place = context.find(answer, place + 1)
    return places
