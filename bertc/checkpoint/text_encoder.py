"""Text to token ids: `TextEncoder`, the checkpoint's tokenizer behind an interface that has no state to change.

Text comes in; ids, types and the way back to characters and words (`EncodedText`) go out. No padding, no batching of
model inputs: that is for who feeds an engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, decoders

from bertc.checkpoint.tokens import (
    EncodedText,
    Frame,
    Tokens,
    assemble,
    fit_pair,
    frame_from_probe,
    join_tokens,
    tokens_from_encoding,
)
from bertc.core.head import Interaction
from bertc.errors import InputError

__all__ = ["EncodedText", "TextEncoder"]

TOKENIZER_FILE = "tokenizer.json"
MAX_QUESTION_TOKENS = 64  # as in the original SQuAD code of BERT: a longer question is cut
FIRST_CHARACTERS = 16  # per token wanted: what is tokenized of a long text at first (English has about 5 per token)
MOST_CHARACTERS = 1_000  # per token wanted: no more of a text than this is ever looked at
MARGIN = 128  # tokens at the end of a prefix that the cut may have changed: one word has at most 100
PIECE = 2**16  # characters of a long context that are tokenized at once
CHUNK = 512  # texts tokenized at once: bounds the memory of the tokenizer's own results
PLACEHOLDER = re.compile(r"\[.+\]$|<.+>$")
SIGN_OF_BLANK = "▁"  # SentencePiece's
LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholders:
    """The ids of what stands for no text: what cannot be spelt, and what is to be guessed; None: no such token."""

    unknown: int | None
    mask: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """How a tokenizer puts two texts together.

    Without `types` all tokens have the type 0, also those of the second text. `context_first`: a question stands behind
    its context.
    """

    types: bool = True
    context_first: bool = False


class TextEncoder:
    """The frozen tokenizer of a checkpoint. Safe to share between threads; the results depend on the arguments only.

    `max_length` is the default limit in tokens, `positions` the largest one the model can take, `unknown_id` the id of
    what the vocabulary cannot spell (-1: there is none), `mask_id` that of what stands for a token that is asked for
    (-1: there is none), `vocab_size` the number of ids of the tokenizer. `interaction` says what a model that compares
    tokens makes of texts, None for others.

    A text of many characters is not tokenized whole. A prefix of 16 characters per wanted token, cut before white
    space, is tokenized first; if it gives fewer tokens than wanted (and 128 more, which the cut could have changed),
    four times as much is, up to 1,000 characters per wanted token. So the tokens are those of the whole text, unless it
    has fewer than one token in 1,000 characters; what is left out counts as truncated.
    """

    __slots__ = (
        "_context_first",
        "_files",
        "_pair",
        "_single",
        "_spells_bytes",
        "_tokenizer",
        "interaction",
        "mask_id",
        "max_length",
        "positions",
        "unknown_id",
        "vocab_size",
    )

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        files: Mapping[str, bytes],
        max_length: int,
        positions: int,
        placeholders: Placeholders,
        pairs: Pairs,
    ) -> None:
        """Take a tokenizer without truncation and padding, and the content of the `files` beside tokenizer.json."""
        self._tokenizer = tokenizer
        self._files = dict(files)
        self._context_first = pairs.context_first
        self._spells_bytes = "ByteLevel(" in repr(tokenizer.pre_tokenizer)
        self._single = frame_from_probe(tokenizer.encode("a"), 1, types=pairs.types)
        self._pair = frame_from_probe(tokenizer.encode("a", "a"), 2, types=pairs.types)
        self.interaction: Interaction | None = None
        self.max_length = max_length
        self.positions = positions
        self.unknown_id = -1 if placeholders.unknown is None else placeholders.unknown
        self.mask_id = -1 if placeholders.mask is None else placeholders.mask
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)

    def token_id(self, token: str) -> int | None:
        """Return the id of a token of the vocabulary, special ones included; None for what is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def with_interaction(self, interaction: Interaction) -> TextEncoder:
        """Return the same tokenizer for a model that compares tokens, whose longer text is the default length."""
        found = copy(self)
        found.interaction = interaction
        found.max_length = max(interaction.query_length, interaction.document_length)
        return found

    @property
    def gives_types(self) -> bool:
        """Whether some tokens of a pair have another type than 0."""
        return self.largest_type > 0

    @property
    def largest_type(self) -> int:
        """The largest type that a token of a pair has."""
        runs = (*self._pair.types, np.array(self._pair.text_types))
        return max(int(run.max(initial=0)) for run in runs)

    @property
    def ordinary_ids(self) -> tuple[int, ...]:
        """Ids that text can give: no separators, no placeholders such as [unused7]."""
        added = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        return tuple(sorted(id for text, id in vocabulary.items() if text not in added and not PLACEHOLDER.match(text)))

    def names_of_ids(self, count: int) -> tuple[str, ...]:
        """Return the tokens with the ids 0 to `count`, as the vocabulary writes them; an id without one is <id>."""
        names = {id: text for text, id in self._tokenizer.get_vocab(with_added_tokens=True).items()}
        return tuple(names.get(id, f"<{id}>") for id in range(count))

    def text_of_token(self, token: str) -> str:
        """Return the text that a token of the vocabulary stands for, with the blank before it.

        A byte-level vocabulary writes each byte as a letter; a token may end inside of a character.
        """
        if self._spells_bytes:
            return str(decoders.ByteLevel().decode([token]))
        return token.replace(SIGN_OF_BLANK, " ")

    def text_with_token(self, text: str, mask: str, token: str) -> str:
        """Return a text with a token of the vocabulary in the mask's place; what continues a word joins it."""
        prefix = getattr(self._tokenizer.model, "continuing_subword_prefix", None)
        if prefix and token.startswith(prefix):
            before, after = text.split(mask, 1)
            return before.rstrip() + token.removeprefix(prefix) + after
        return text.replace(mask, self.text_of_token(token).strip())

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
    ) -> list[EncodedText]:
        """Tokenize texts (and their pairs) to at most `max_length` tokens (None: the checkpoint's limit).

        Of a text and its pair the longer one is cut first. Raises `InputError` if `max_length` is impossible.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts came with {len(pairs)} pairs; give one pair for each text")
        frame = self._single if pairs is None else self._pair
        room = self._room(max_length, frame)
        if pairs is None:
            tokens = self._tokens(texts, room)
            return [assemble(frame, [one.part(0, room)]) for one in tokens]
        firsts, seconds = self._tokens(texts, room), self._tokens(pairs, room)
        both = zip(firsts, seconds, strict=True)
        return [assemble(frame, fit_pair(first, second, room)) for first, second in both]

    def encode_whole(self, text: str) -> EncodedText:
        """Tokenize all of a text, which may be longer than the model reads."""
        return assemble(self._single, [self._whole(text)])

    def encode_words(self, words: Sequence[str], *, max_length: int | None = None) -> EncodedText:
        """Tokenize a text that comes as words; `word_ids` are indices into `words`, `offsets` lie within each word.

        A word may give several tokens, or none at all (control characters). A byte-level tokenizer without
        `add_prefix_space` puts no space before a word, as in transformers: so a model of words was trained.
        """
        room = self._room(max_length, self._single)
        count = room + MARGIN
        while True:
            part = [_clean(word[: MOST_CHARACTERS * room]) for word in words[:count]]
            encoding = self._tokenizer.encode(part, is_pretokenized=True, add_special_tokens=False)
            if count >= len(words) or len(encoding) > room:
                break
            count *= 4
        tokens = tokens_from_encoding(encoding, cut=count < len(words))
        return assemble(self._single, [tokens.part(0, room)])

    def words_of_text(self, text: str) -> tuple[str, ...]:
        """Return the words that the tokenizer's pre-tokenizer sees in a text, each as it stands there.

        Letters with their marks stay together in every script and in every form of Unicode; what the tokenizer drops
        (control characters) is no word.
        """
        tokens = self._whole(text)
        spans: dict[int, tuple[int, int]] = {}
        for word, (start, end) in zip(tokens.words.tolist(), tokens.offsets.tolist(), strict=True):
            first, last = spans.get(word, (start, end))
            spans[word] = (min(first, start), max(last, end))
        words = (text[start:end].strip() for word, (start, end) in spans.items() if word >= 0)
        return tuple(word for word in words if word)

    def count_unknown(self, inputs: Iterable[NDArray[np.int64]]) -> tuple[int, int]:
        """Return how many tokens of model inputs are the unknown one, and how many there are, special ones left out."""
        special = np.unique(np.concatenate([*self._single.ids, *self._pair.ids]))
        unknown = total = 0
        for ids in inputs:
            unknown += int((ids == self.unknown_id).sum())
            total += int((~np.isin(ids, special)).sum())
        return unknown, total

    def encode_windows(
        self, question: str, context: str, *, max_length: int | None = None, stride: int = 128
    ) -> list[EncodedText]:
        """Tokenize a question with a context of any length, as windows of at most `max_length` tokens in their order.

        Neighbouring windows share `stride` context tokens. A question is cut to 64 tokens (then all windows are
        `truncated`). `sequence_ids` are 0 for the question and 1 for the context, whichever comes first. Raises
        `InputError` if `stride` leaves no room to go forward.
        """
        room = self._room(max_length, self._pair)
        asked = self._tokens([question], MAX_QUESTION_TOKENS)[0].part(0, MAX_QUESTION_TOKENS)
        width = room - len(asked.ids)
        if stride < 0 or width <= stride:
            raise InputError(
                f"windows of {room + self._pair.size} tokens hold {max(width, 0)} of the context beside a question of "
                f"{len(asked.ids)}, and the stride is {stride}; use a longer max_length or a smaller stride"
            )
        whole = self._whole(context)
        count = len(whole.ids)
        starts = range(0, max(count - stride, 1), width - stride)
        parts = (whole.part(start, start + width) for start in starts)
        windows = (Tokens(part.ids, part.offsets, part.words) for part in parts)  # a window is not a cut
        if self._context_first:
            return [_exchanged(assemble(self._pair, [window, asked])) for window in windows]
        return [assemble(self._pair, [asked, window]) for window in windows]

    def save(self, directory: Path) -> list[Path]:
        """Write the tokenizer's files, which transformers opens as well, into a folder; return their paths."""
        paths = []
        for name, content in {TOKENIZER_FILE: self._tokenizer.to_str().encode(), **self._files}.items():
            path = directory / name
            path.write_bytes(content)
            paths.append(path)
        return paths

    def check_length(self, length: int) -> None:
        """Raise `InputError` if no token of a text fits into so many."""
        self._room(length, self._single)

    def _room(self, max_length: int | None, frame: Frame) -> int:
        """Return how many tokens of text fit beside the special tokens."""
        length = self.max_length if max_length is None else max_length
        if frame.size >= self.positions:
            raise InputError(
                f"the model has {self.positions} positions, which the {frame.size} special tokens fill; use another "
                "checkpoint"
            )
        if not frame.size < length <= self.positions:
            raise InputError(
                f"the length of {length} tokens is impossible for this model; choose one from {frame.size + 1} to "
                f"{self.positions}"
            )
        return length - frame.size

    def _tokens(self, texts: Sequence[str], wanted: int) -> list[Tokens]:
        """Tokenize texts as far as needed for `wanted` tokens each."""
        first = FIRST_CHARACTERS * (wanted + MARGIN)
        results: list[Tokens] = []
        for start in range(0, len(texts), CHUNK):
            chunk = [_prefix(text, first) for text in texts[start : start + CHUNK]]
            encodings = self._encodings([_clean(part) for part in chunk])
            for text, part, encoding in zip(texts[start : start + CHUNK], chunk, encodings, strict=True):
                tokens = tokens_from_encoding(encoding, cut=len(part) < len(text))
                results.append(self._more(text, tokens, wanted) if tokens.cut else tokens)
        return results

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize texts: many of them in the tokenizer's own threads, one of them here.

        A batch of one goes to a thread of its pool as well, and who asks waits until that gets a core.
        """
        if len(texts) > 1:
            return list(self._tokenizer.encode_batch(texts, add_special_tokens=False))
        return [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]

    def _whole(self, text: str) -> Tokens:
        """Tokenize all of a text, in pieces cut before white space, which is no part of any token."""
        pieces: list[tuple[int, Tokens]] = []
        start = 0
        while start < len(text) or not pieces:
            part = _prefix(text[start : start + PIECE + 1], PIECE)
            encoding = self._tokenizer.encode(_clean(part), add_special_tokens=False)
            pieces.append((start, tokens_from_encoding(encoding)))
            start += max(len(part), 1)
        return join_tokens(pieces)

    def _more(self, text: str, tokens: Tokens, wanted: int) -> Tokens:
        """Tokenize longer prefixes until there are enough tokens, or the end or the limit is reached."""
        most = MOST_CHARACTERS * (wanted + MARGIN)
        characters = FIRST_CHARACTERS * (wanted + MARGIN)
        while tokens.cut and len(tokens.ids) < wanted + MARGIN and characters < most:
            characters = min(4 * characters, most)
            part = _prefix(text, characters)
            encoding = self._tokenizer.encode(_clean(part), add_special_tokens=False)
            tokens = tokens_from_encoding(encoding, cut=len(part) < len(text))
        return tokens


def _exchanged(encoded: EncodedText) -> EncodedText:
    """Let the first of two texts be the pair, and the second be the text."""
    ids = encoded.sequence_ids
    return replace(encoded, sequence_ids=np.where(ids < 0, ids, 1 - ids).astype(np.int8))


def _clean(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8 form, one to one so that offsets stay true."""
    return text if text.isascii() else LONE_SURROGATES.sub("\ufffd", text)


def _prefix(text: str, characters: int) -> str:
    """Return about that many characters of a text, cut before white space where there is some near."""
    if len(text) <= characters:
        return text
    end = characters
    while end > characters // 2 and not text[end].isspace():
        end -= 1
    return text[: end if end > characters // 2 else characters]
