"""What a row and a data set are, which rows calibrate, and which rows two sets share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertc.errors import InputError

UNANSWERABLE = ""
"""The reference answer of a question that its context does not answer (SQuAD 2.0)."""


def hash_texts(texts: Sequence[str]) -> str:
    """Return the identity of a row: the first 16 hexadecimal digits of the sha256 of its texts.

    Labels are left out on purpose, so that a corrected label is seen as a changed label of the same row.
    """
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example.

    `texts` is one text or a pair (for question answering: question, context; for word-by-word data: the words joined
    by a space). `label` is as the file has it until a task's `check_rows` maps it; "" is an empty cell, None
    no cell. `words` and `tags` belong to token classification, `answers` to question answering. `group` is the unit of
    resampling (SQuAD's article, the query that a row answers), empty where a row stands for itself. `from_text` says
    that a task takes what is right from the text itself, so that the file has no label of it. `source` and `line` say
    where the row stands, for messages; 0 if it has no line.
    """

    texts: tuple[str, ...]
    hash: str
    label: Any | None = None
    words: tuple[str, ...] | None = None
    tags: tuple[Any, ...] | None = None
    answers: tuple[str, ...] = ()
    id: str = ""
    group: str = ""
    from_text: bool = False
    source: str = ""
    line: int = 0

    @property
    def labelled(self) -> bool:
        """Whether anything says what the right answer is."""
        return self.label not in (None, "") or self.tags is not None or bool(self.answers)

    @property
    def place(self) -> str:
        """Where the row stands, as the beginning of a message."""
        where = f"line {self.line}" if self.line else f"row {self.id}" if self.id else "a row"
        return f"{self.source}, {where}" if self.source else where


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows with their origin: `form` is the file's form, `columns` says which column filled which role.

    `digest` is the sha256 over the rows that were read, labels included. `header` says whether the first line of a
    table named its columns, None for other forms; `left_out` counts what is no row (blank lines, comments).
    """

    rows: tuple[Row, ...]
    name: str
    digest: str
    form: str
    columns: Mapping[str, str]
    header: bool | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)


def row_from_texts(*texts: str, **fields: Any) -> Row:
    """Return a row of these texts, as `predict` makes them from the command line; `fields` are `Row`'s own."""
    return Row(texts=tuple(texts), hash=hash_texts(texts), **fields)


def digest_rows(rows: Iterable[Row]) -> str:
    """Return the sha256 over texts, labels, tags and answers, in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr((row.hash, row.label, row.tags, row.answers)).encode())
    return digest.hexdigest()


def sample_rows(dataset: Dataset, samples: int, *, seed: int = 0) -> tuple[Row, ...]:
    """Return at most `samples` different rows for calibration, in the file's order.

    Each row's chance grows with its length in characters, so that each *character* of the data is about as likely to
    be seen as any other: ranges are statistics over tokens, and a set of many two-word phrases would otherwise
    show the model next to nothing. Sampling is without replacement by the keys of Efraimidis and Spirakis (2006),
    log(u) / length. u comes from the row's hash and the seed, so the choice does not depend on the file's order.
    """
    if samples < 1:
        raise InputError(f"calibration needs at least 1 row, not {samples}; raise the number of samples")
    distinct = list({row.hash: row for row in dataset.rows if any(row.texts)}.values())
    if not distinct:
        raise InputError(f"{dataset.name}: no row has any text; give a file with text to calibrate on")
    if len(distinct) <= samples:
        return tuple(distinct)
    keyed = sorted(range(len(distinct)), key=lambda index: -_sampling_key(distinct[index], seed))
    return tuple(distinct[index] for index in sorted(keyed[:samples]))


def _sampling_key(row: Row, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{row.hash}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "little") + 1) / (2**64 + 1)
    return math.log(uniform) / sum(map(len, row.texts))
