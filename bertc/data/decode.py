"""Bytes -> numbered lines of text, and the errors of files that are no text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bertc.errors import InputError

LINE_LIMIT = 64 * 1024 * 1024


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text with its line end), one line in memory at a time.

    Raises `InputError` on NUL bytes, on bytes that are not UTF-8 and on a line of more than 64 MiB.
    """
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(raw) > LINE_LIMIT:
                raise InputError(f"{path}, line {number}: the line is longer than 64 MiB; is this a text file?")
            yield number, decode_text(raw, path, number)


def decode_text(raw: bytes, path: Path, number: int = 1) -> str:
    """Return bytes as text, without a byte order mark. `number` is the line on which the bytes begin."""
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = number + raw[: error.start].count(b"\n")
        raise InputError(f"{path}, line {line}: not valid UTF-8; save the file as UTF-8") from None
    if "\0" in text:
        line = number + text[: text.index("\0")].count("\n")
        raise InputError(f"{path}, line {line}: holds a NUL byte; give a text file in UTF-8")
    return text
