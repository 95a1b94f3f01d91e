"""CoNLL files: a token and its tag per line, a blank line between sentences.

The file is surveyed once before its rows are read, because what a line is depends on the others: a first column that
counts the tokens of every sentence is an index, and a line with `#` before a sentence is a comment unless it has the
file's columns and a tag that other tokens have. Blanks are ASCII: a no-break space belongs to its token.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bertc.data.decode import decoded_lines
from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError

TAG = re.compile(r"O|[BIESLU]-(\S+)")
NO_TOKEN = re.compile(r"[0-9]+[-.][0-9]+")
"""CoNLL-U's index of a line that stands for several tokens (1-2), or for none of the text (8.1)."""
BLANKS = " \t\r\n"
SNIFFED_LINES = 200
MOST_TAGS = 2000
"""A column with more different values is none of tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a file has what, columns counted from 0. `known_tags` are the tags of lines that are surely tokens."""

    width: int
    tabbed: bool
    indexed: bool
    words: int
    tags: int | None
    known_tags: frozenset[str]

    def is_comment(self, cells: list[str]) -> bool:
        """Say whether a line before a sentence that begins with # is a comment."""
        if self.indexed or len(cells) != self.width:
            return True
        return self.tags is not None and cells[self.tags] not in self.known_tags

    @property
    def used(self) -> dict[str, str]:
        """Role -> number of its column, from 1."""
        return {"words": str(self.words + 1)} | ({} if self.tags is None else {"tags": str(self.tags + 1)})


@dataclass(slots=True)
class _Survey:
    """What the lines of a file are like. `counting` is whether the first column counts so far, from `base`."""

    tabbed: bool
    width: int = 0
    values: list[set[str]] = field(default_factory=list)
    counting: bool = True
    base: int = 1
    longest: int = 0

    def add(self, cells: list[str], number: int) -> None:
        """Take a token's line; `number` counts the tokens of its sentence from 0."""
        if not self.width:
            self.width = len(cells)
            self.values = [set() for _ in cells]
            self.base = int(cells[0] != "0")
        for seen, value in zip(self.values, cells, strict=False):
            if len(seen) <= MOST_TAGS:
                seen.add(value)
        self.counting = self.counting and cells[0] == str(number + self.base)
        self.longest = max(self.longest, number + 1)

    @property
    def indexed(self) -> bool:
        """Whether the first column is an index: it counts, up to two at least, and no tags are all that follows."""
        return self.counting and self.longest > 1 and not (self.width == 2 and self.types(1) is not None)

    def types(self, column: int) -> set[str] | None:
        """Return the types of a column's tags, None where not all of its values are tags."""
        found = [TAG.fullmatch(value) for value in self.values[column]]
        if len(found) > MOST_TAGS or not all(found):
            return None
        return {match[1] for match in found if match is not None and match[1]}


def columns_of_conll(path: Path, wanted: Mapping[str, int], *, labelled: bool) -> Columns:
    """Find what a file's columns are. `wanted` has columns by role, from 1; without `labelled` tags do not matter.

    Raises `InputError` for a column that is not there, and where two columns may be the tags.
    """
    survey = _survey(path, comments=True)
    if not survey.width:
        survey = _survey(path, comments=False)  # nothing but lines with #: they are the tokens
    for role, number in wanted.items():
        if not 1 <= number <= survey.width:
            raise InputError(f"{path}: '{role}={number}': there is no such column; the file has {survey.width}")
    words = wanted["words"] - 1 if "words" in wanted else int(survey.indexed)
    last = survey.width - 1
    tags = wanted["tags"] - 1 if "tags" in wanted else last if last > words else None
    if tags is not None and "tags" not in wanted and labelled:
        _check_tags(path, survey, words, tags)
    return Columns(
        width=survey.width,
        tabbed=survey.tabbed,
        indexed=survey.indexed,
        words=words,
        tags=tags,
        known_tags=frozenset() if tags is None else frozenset(survey.values[tags]),
    )


def rows_from_conll(path: Path, columns: Columns, left_out: Counter[str]) -> Iterator[Row]:
    """Yield a row per sentence, and count what is left out. Every line of a file must have as many columns."""
    sentence: list[list[str]] = []
    start = 1
    for number, line in decoded_lines(path):
        cells = _cells(line, tabbed=columns.tabbed)
        if not cells or _begins_document(cells[0]):
            if cells:
                left_out["-DOCSTART- lines"] += 1
            if sentence:
                yield _row(path, sentence, start, columns)
            sentence = []
        elif not sentence and cells[0].startswith("#") and columns.is_comment(cells):
            left_out["comment lines"] += 1
        elif columns.indexed and NO_TOKEN.fullmatch(cells[0]):
            left_out["lines that are no token"] += 1
        else:
            _check_line(path, number, cells, columns)
            start = start if sentence else number
            sentence.append(cells)
    if sentence:
        yield _row(path, sentence, start, columns)


def looks_like_conll(path: Path) -> bool:
    """Say whether the first lines are tokens with tags of the kind O, B-x, I-x."""
    lines = [line for _, line in islice(decoded_lines(path), SNIFFED_LINES) if line.strip(BLANKS)]
    cells = [_cells(line, tabbed="\t" in line) for line in lines]
    tagged = [len(line) > 1 and TAG.fullmatch(line[-1]) is not None for line in cells]
    tokens = [found for line, found in zip(cells, tagged, strict=True) if found or not line[0].startswith("#")]
    return bool(tokens) and sum(tokens) >= 0.9 * len(tokens)


def _survey(path: Path, *, comments: bool) -> _Survey:
    survey, number = None, 0
    for _, line in decoded_lines(path):
        stripped = line.strip(BLANKS)
        if not stripped or _begins_document(stripped):
            number = 0
            continue
        if comments and number == 0 and stripped.startswith("#"):
            continue
        survey = survey or _Survey("\t" in line)
        cells = _cells(line, tabbed=survey.tabbed)
        if not (survey.counting and NO_TOKEN.fullmatch(cells[0])):
            survey.add(cells, number)
            number += 1
    return survey or _Survey(tabbed=False)


def _check_tags(path: Path, survey: _Survey, words: int, last: int) -> None:
    """Refuse to choose between columns of tags; those of other types beside the last (chunks beside names) are none."""
    types = survey.types(last)
    for column in range(words + 1, last):
        others = survey.types(column)
        if others and (not types or types & others):
            raise InputError(
                f"{path}: the tags may be column {column + 1} ({_some(survey.values[column])}) or column {last + 1} "
                f"({_some(survey.values[last])}); name one with tags={column + 1} or tags={last + 1}"
            )


def _check_line(path: Path, number: int, cells: list[str], columns: Columns) -> None:
    if len(cells) != columns.width:
        raise InputError(
            f"{path}, line {number}: has {len(cells)} columns where the lines before have {columns.width}; "
            "write a token, its tag and nothing else on each line"
        )
    if not cells[columns.words]:
        raise InputError(f"{path}, line {number}: has no token before its tag; write the token or remove the line")


def _begins_document(text: str) -> bool:
    return text.startswith("-DOCSTART-")


def _cells(line: str, *, tabbed: bool) -> list[str]:
    stripped = line.strip(BLANKS)
    if not stripped:
        return []
    return [cell.strip(BLANKS) for cell in line.split("\t")] if tabbed else re.split(r"[ \t]+", stripped)


def _row(path: Path, sentence: list[list[str]], start: int, columns: Columns) -> Row:
    words = tuple(cells[columns.words] for cells in sentence)
    tags = None if columns.tags is None else tuple(cells[columns.tags] for cells in sentence)
    return row_from_texts(" ".join(words), words=words, tags=tags, source=str(path), line=start)


def _some(values: set[str]) -> str:
    return ", ".join(sorted(values, key=lambda tag: (tag == "O", tag))[:3])
