"""Checks that every task makes of its rows: the number of texts, labels for all or none, labels the head knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bertc.data.rows import Row
from bertc.errors import InputError

LISTED_LABELS = 10


def check_texts(rows: Sequence[Row], counts: tuple[int, ...], task: str) -> None:
    """Raise `InputError` unless all rows have the same number of texts, one of `counts`, and some text."""
    for row in rows:
        if len(row.texts) not in counts or len(row.texts) != len(rows[0].texts):
            wanted = " or ".join(map(str, counts))
            raise InputError(f"{row.place}: has {len(row.texts)} texts where {task} takes {wanted}; name the columns")
        if not any(text.strip() for text in row.texts):
            raise InputError(f"{row.place}: the text is empty; fill the cell or remove the row")


def is_labelled(rows: Sequence[Row]) -> bool:
    """Say whether the rows have labels. Raises `InputError` where some have and some have not."""
    known = [row.labelled for row in rows]
    if any(known) and not all(known):
        missing = rows[known.index(False)]
        raise InputError(f"{missing.place}: has no label though other rows have one; add it or remove the row")
    return any(known)


def id_from_label(row: Row, label: Any, labels: Sequence[str]) -> int:
    """Return the id of a label given by name, by name in other letter case, or by number from 0."""
    if isinstance(label, str) and (name := label.strip()) in labels:
        return labels.index(name)
    number = _whole_number(label)
    if number is not None and 0 <= number < len(labels):
        return number
    lowered = [known.lower() for known in labels]
    if isinstance(label, str) and lowered.count(label.strip().lower()) == 1:
        return lowered.index(label.strip().lower())
    some = ", ".join(labels[:LISTED_LABELS]) + (", ..." if len(labels) > LISTED_LABELS else "")
    raise InputError(
        f"{row.place}: the checkpoint does not know the label {str(label)[:60]!r}; it knows {some} "
        f"(or numbers from 0 to {len(labels) - 1})"
    )


def number_from_label(row: Row) -> float:
    """Return a score as a float. Raises `InputError` if it is no finite number."""
    try:
        value = float(row.label)  # type: ignore[arg-type]  # whatever it is, float() says whether it is a number
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{row.place}: the score {str(row.label)[:60]!r} is no number; name the column of scores")
    return value


def _whole_number(label: Any) -> int | None:
    if isinstance(label, bool):
        return int(label)
    try:
        value = float(label)
    except (TypeError, ValueError):
        return None
    return int(value) if value.is_integer() else None
