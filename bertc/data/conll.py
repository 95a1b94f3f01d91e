"""CoNLL files: a token and its tag per line (the first and the last column), a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bertc.data.decode import decoded_lines
from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError

TAG = re.compile(r"(O|[BIESLU]-\S+)$")
SNIFFED_LINES = 200


def rows_from_conll(path: Path) -> Iterator[Row]:
    """Yield a row per sentence. Every line of a file must have the same number of columns; one means no tags."""
    width: int | None = None
    sentence: list[list[str]] = []
    start = 1
    for number, line in decoded_lines(path):
        cells = _cells(line)
        if not cells or cells[0] == "-DOCSTART-":
            if sentence:
                yield _row(path, sentence, start)
            sentence = []
            continue
        width = len(cells) if width is None else width
        if not cells[0]:
            raise InputError(f"{path}, line {number}: has no token before its tag; write the token or remove the line")
        if len(cells) != width:
            raise InputError(
                f"{path}, line {number}: has {len(cells)} columns where the lines before have {width}; "
                "write a token, its tag and nothing else on each line"
            )
        start = start if sentence else number
        sentence.append(cells)
    if sentence:
        yield _row(path, sentence, start)


def looks_like_conll(path: Path) -> bool:
    """Say whether the first lines are tokens with tags of the kind O, B-x, I-x."""
    lines = [cells for _, line in islice(decoded_lines(path), SNIFFED_LINES) if (cells := _cells(line))]
    tagged = sum(len(cells) > 1 and TAG.fullmatch(cells[-1]) is not None for cells in lines)
    return bool(lines) and tagged >= 0.9 * len(lines)


def _cells(line: str) -> list[str]:
    if not line.strip():
        return []
    return [cell.strip() for cell in line.rstrip("\r\n").split("\t")] if "\t" in line else line.split()


def _row(path: Path, sentence: list[list[str]], start: int) -> Row:
    words = tuple(cells[0] for cells in sentence)
    tags = tuple(cells[-1] for cells in sentence) if len(sentence[0]) > 1 else None
    return row_from_texts(" ".join(words), words=words, tags=tags, source=str(path), line=start)
