"""Plain text: one text per line, no labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bertc.data.decode import decoded_lines
from bertc.data.rows import Row, row_from_texts


def rows_from_lines(path: Path, left_out: Counter[str], *, blank: bool) -> Iterator[Row]:
    """Yield a row per line. A blank one is a row without text where `blank` asks for it, and else left out."""
    for number, line in decoded_lines(path):
        text = line.strip()
        if text or blank:
            yield row_from_texts(text, source=str(path), line=number)
        else:
            left_out["blank lines"] += 1
