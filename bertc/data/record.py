"""One record of a table -> one `Row`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.data.columns import LABEL_COLUMN
from bertc.data.labels import flag_from_label
from bertc.data.rows import UNANSWERABLE, Row, row_from_texts
from bertc.errors import InputError

TEXT_ROLES = ("text", "text_a", "text_b", "question", "context")
READ_ROLES = (*TEXT_ROLES, "words")
"""What a model reads of a record."""

FLOATED = re.compile(r"([+-]?[0-9]{1,30})\.0+")
"""A whole number as a float, as which a column of numbers is written that had an empty cell."""

ROUNDED = re.compile(r"[+-]?[0-9](\.[0-9]+)?e\+[0-9]+")
"""How programs write a float of 1e16 and above."""

INEXACT = 2**53
"""The whole number from which on a float may stand for others, too."""


def row_from_record(record: Mapping[str, Any], used: Mapping[str, str], path: Path, line: int) -> Row:
    """Return the row of a record; `used` says which column fills which role. Raises `InputError` naming the line."""
    cells = {role: _cell(record, column, path, line) for role, column in used.items() if role not in ("id", "group")}
    texts = tuple(_text(cells[role], used[role], path, line) for role in used if role in TEXT_ROLES)
    words = _items(cells.get("words"), used.get("words", ""), path, line)
    tags = _items(cells.get("tags"), used.get("tags", ""), path, line)
    return row_from_texts(
        *(texts or (" ".join(map(str, words or ())),)),
        label=_label(record, used, path, line),
        words=None if words is None else tuple(map(str, words)),
        tags=None if tags is None else tuple(tags),
        answers=_answers(cells.get("answers"), path, line),
        id=_name(record.get(used.get("id", ""))),
        group=_group(record.get(used.get("group", "")), used.get("group", ""), path, line),
        source=str(path),
        line=line,
    )


def _label(record: Mapping[str, Any], used: Mapping[str, str], path: Path, line: int) -> Any:
    """Return the cell of the label, "" for an empty one, or a boolean for each label that has a column of its own."""
    if (column := used.get("label")) is not None:
        cell = _cell(record, column, path, line)
        return "" if cell is None and record[column] is not None else cell
    own = [column for role, column in used.items() if role.startswith(LABEL_COLUMN)]
    flags = [flag_from_label(record[column]) for column in own]
    if None in flags:
        column = own[flags.index(None)]
        raise InputError(
            f"{path}, line {line}: column '{column}' has {str(record[column])[:60]!r} where a label applies (1) or not "
            "(0); write 0 or 1, or name the column of all labels with label=NAME"
        )
    return flags or None


def _cell(record: Mapping[str, Any], column: str, path: Path, line: int) -> Any:
    if column not in record:
        raise InputError(f"{path}, line {line}: has no column '{column}'; it has {', '.join(list(record)[:20])}")
    value = record[column]
    blank = value.strip() == "" if isinstance(value, str) else isinstance(value, float) and math.isnan(value)
    return None if blank else value


def _name(value: Any) -> str:
    """Return what names a row or its group, "" for an empty cell.

    A number is a name too, 0 as well, and `1`, `1.0` and their texts are one name, as they are one label.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value).strip()
    floated = FLOATED.fullmatch(text)
    return text if floated is None else floated[1]


def _group(value: Any, column: str, path: Path, line: int) -> str:
    """Return what names a row's group. Raises `InputError` for a float that may stand for several whole numbers."""
    text = str(value).strip()
    floated = FLOATED.fullmatch(text)
    if ROUNDED.fullmatch(text) or (floated is not None and abs(int(floated[1])) >= INEXACT):
        raise InputError(
            f"{path}, line {line}: column '{column}' has {text}, a float to which several whole numbers are rounded; "
            "write ids of groups as whole numbers or texts"
        )
    return _name(value)


def _text(value: Any, column: str, path: Path, line: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(
            f"{path}, line {line}: column '{column}' is no text but {type(value).__name__}; name another column"
        )
    return str(value)


def _items(value: Any, column: str, path: Path, line: int) -> list[Any] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return list(value.split())
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{path}, line {line}: column '{column}' is no list but {type(value).__name__}")
    return list(value)


def _answers(value: Any, path: Path, line: int) -> tuple[str, ...]:
    # The forms of the Hugging Face data sets: {"text": [...], "answer_start": [...]}, a list of texts, or one text. A
    # list without any text says that there is no answer (SQuAD 2.0), a null says nothing.
    if isinstance(value, Mapping):
        value = value.get("text")
    if value is None:
        return ()
    items = value if isinstance(value, (list, tuple)) else [value]
    texts: list[Any] = [item.get("text") if isinstance(item, Mapping) else item for item in items]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}, line {line}: the answers are no texts; write a text or a list of texts")
    return tuple(dict.fromkeys(texts)) or (UNANSWERABLE,)
