"""Plain text: one text per line, no labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bertc.data.decode import decoded_lines
from bertc.data.rows import Row, row_from_texts


def rows_from_lines(path: Path) -> Iterator[Row]:
    """Yield a row per line that is not blank."""
    for number, line in decoded_lines(path):
        if text := line.strip():
            yield row_from_texts(text, source=str(path), line=number)
