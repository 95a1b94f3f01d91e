"""Tokens as arrays: cut to a length, put between a tokenizer's special tokens.

Tokens of single texts come in, an `EncodedText` goes out. What turns text into tokens is in `text_encoder.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from bertc.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedText:
    """One tokenized model input of n tokens, special tokens included, without padding.

    `ids` and `type_ids` are int64 [n]. `offsets` is int32 [n, 2]: first and one past the last character of each token,
    in the text (or pair, or word) that it comes from; (0, 0) for special tokens. `word_ids` int32 [n]: number of the
    word in its text, -1 for special tokens. `sequence_ids` int8 [n]: 0 for the text, 1 for the pair, -1 for special
    tokens. `truncated`: some of the text was cut off to fit and is in no window.
    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    offsets: NDArray[np.int32]
    word_ids: NDArray[np.int32]
    sequence_ids: NDArray[np.int8]
    truncated: bool = False

    @property
    def length(self) -> int:
        """Number of tokens, special tokens included."""
        return int(self.ids.shape[0])


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one text, without special tokens; `cut`: not all of the text's tokens."""

    ids: NDArray[np.int64]
    offsets: NDArray[np.int32]  # [n, 2]
    words: NDArray[np.int32]
    cut: bool = False

    def part(self, first: int, last: int) -> Tokens:
        """Return the tokens `first` up to `last` (exclusive)."""
        cut = self.cut or first > 0 or last < len(self.ids)
        return Tokens(self.ids[first:last], self.offsets[first:last], self.words[first:last], cut)


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens before, between and after the texts, learned from the tokenizer by encoding a probe."""

    ids: tuple[NDArray[np.int64], ...]  # one run per gap: 2 for one text, 3 for a pair
    types: tuple[NDArray[np.int64], ...]
    text_types: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return sum(len(run) for run in self.ids)


def tokens_from_encoding(encoding: Encoding, *, cut: bool = False) -> Tokens:
    """Return a text's tokens as arrays; `cut`: the text was longer."""
    count = len(encoding)
    offsets = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * count).reshape(count, 2)
    words = np.fromiter((-1 if word is None else word for word in encoding.word_ids), np.int32, count)
    return Tokens(np.array(encoding.ids, np.int64), offsets, words, cut)


def join_tokens(pieces: Sequence[tuple[int, Tokens]]) -> Tokens:
    """Join the tokens of consecutive pieces of one text, each with the position of its first character."""
    first_words, count = [], 0
    for _, tokens in pieces:
        first_words.append(count)
        count += int(tokens.words[-1]) + 1 if len(tokens.words) else 0
    return Tokens(
        np.concatenate([tokens.ids for _, tokens in pieces]),
        np.concatenate([tokens.offsets + np.int32(start) for start, tokens in pieces]),
        np.concatenate([piece[1].words + np.int32(first) for piece, first in zip(pieces, first_words, strict=True)]),
    )


def frame_from_probe(probe: Encoding, texts: int, *, types: bool = True) -> Frame:
    """Split an encoded probe into the special tokens around its texts; without `types` all have the type 0."""
    gaps: list[list[tuple[int, int]]] = [[]]
    text_types: list[int] = []
    kinds = probe.type_ids if types else [0] * len(probe.ids)
    for token, kind, sequence in zip(probe.ids, kinds, probe.sequence_ids, strict=True):
        if sequence is None:
            gaps[-1].append((token, kind))
        elif sequence == len(text_types):  # the first token of a text; a probe could have more
            text_types.append(kind)
            gaps.append([])
    if len(text_types) != texts:
        raise InputError("the tokenizer does not give one run of tokens per text; save it again with transformers")
    columns = [np.array(gap, np.int64).reshape(-1, 2) for gap in gaps]
    return Frame(tuple(gap[:, 0] for gap in columns), tuple(gap[:, 1] for gap in columns), tuple(text_types))


def fit_pair(first: Tokens, second: Tokens, room: int) -> list[Tokens]:
    """Cut two texts to `room` tokens together, the way the tokenizers library does.

    Of two texts so long that neither was tokenized whole, which one gets an odd token may differ from the library.
    """
    one, two = len(first.ids), len(second.ids)
    if one + two > room:
        short, long = min(one, two), room - min(one, two)
        if short > long:  # both are longer than half: an odd token goes to the longer text, or else to the second
            short, long = room // 2, room - room // 2
        one, two = (long, short) if one > two else (short, long)
    return [first.part(0, one), second.part(0, two)]


def assemble(frame: Frame, parts: Sequence[Tokens]) -> EncodedText:
    """Put special tokens around the texts."""
    ids, types, offsets, words, sequences = [], [], [], [], []
    for gap in range(len(frame.ids)):
        special = len(frame.ids[gap])
        ids.append(frame.ids[gap])
        types.append(frame.types[gap])
        offsets.append(np.zeros((special, 2), np.int32))
        words.append(np.full(special, -1, np.int32))
        sequences.append(np.full(special, -1, np.int8))
        if gap < len(parts):
            count = len(parts[gap].ids)
            ids.append(parts[gap].ids)
            types.append(np.full(count, frame.text_types[gap], np.int64))
            offsets.append(parts[gap].offsets)
            words.append(parts[gap].words)
            sequences.append(np.full(count, gap, np.int8))
    return EncodedText(
        ids=np.concatenate(ids),
        type_ids=np.concatenate(types),
        offsets=np.concatenate(offsets),
        word_ids=np.concatenate(words),
        sequence_ids=np.concatenate(sequences),
        truncated=any(part.cut for part in parts),
    )
