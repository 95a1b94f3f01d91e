"""Checks that every task makes of its rows: the number of texts, labels for all or none, labels the head knows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from bertc.data.rows import Row
from bertc.errors import InputError

Key = TypeVar("Key")

LISTED_LABELS = 10
NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})")
FLAGS = {"true": 1, "false": 0}


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """A label of a file that numbers its labels and says what each is called: a number of its own, and the name."""

    id: int
    name: str

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def __float__(self) -> float:
        """Return the number, where a score is read."""
        return float(self.id)


def has_text(row: Row) -> bool:
    """Say whether a row has anything to read: words of its own, or a text that is not blank."""
    return bool(row.words) or any(text.strip() for text in row.texts)


def check_texts(rows: Sequence[Row], counts: tuple[int, ...], task: str) -> None:
    """Raise `InputError` unless all rows have the same number of texts, one of `counts`, and some text."""
    for row in rows:
        if len(row.texts) not in counts or len(row.texts) != len(rows[0].texts):
            wanted = " or ".join(map(str, counts))
            raise InputError(f"{row.place}: has {len(row.texts)} texts where {task} takes {wanted}; name the columns")
        if not has_text(row):
            raise InputError(f"{row.place}: the text is empty; fill the cell or remove the row")


def is_labelled(rows: Sequence[Row]) -> bool:
    """Say whether the rows have labels. Raises `InputError` where some have and some have not."""
    known = [row.labelled for row in rows]
    if any(known) and not all(known):
        missing = rows[known.index(False)]
        raise InputError(f"{missing.place}: has no label though other rows have one; add it or remove the row")
    return any(known)


def check_label_of_text(row: Row) -> None:
    """Raise `InputError` for a row that has what another task learns from, and no label of its text."""
    if row.label is None and row.labelled:
        what = "tags of its words" if row.tags is not None else "answers within its text"
        raise InputError(f"{row.place}: has {what} and no label of the text; give data for the checkpoint's task")


class LabelIds:
    """The ids of a data set's labels, by one rule for every form of file: names first, then ids.

    A label is a name of the head if it is written the same, if both are the same number (`"2"`, `2` and `2.0` are one
    label), or if they differ in letter case alone. Else a whole number from 0 is an id; `true` and `false` are the ids
    1 and 0 of two labels. Where some numbers of a data set can only be ids and others are the name of one label and
    the id of another, nobody knows which are meant: that is refused. Of a `ClassLabel` the name is looked for first,
    and the number is the id, by the same rule.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Take the head's labels, in the order of their ids."""
        self._labels = tuple(labels)
        self._exact = {name: index for index, name in enumerate(self._labels)}
        self._numbers = _only_once((number_from_text(name), index) for name, index in self._exact.items())
        self._lowered = _only_once((name.lower(), index) for name, index in self._exact.items())
        self._known: dict[tuple[str, str], int] = {}
        self._only_id: Any = None
        self._differing: Any = None

    def id(self, row: Row, label: Any) -> int:
        """Return a label's id. Raises `InputError` for one that the head does not know, and for the ambiguous."""
        if label is None:
            check_label_of_text(row)
        key = _name_and_number(label)
        if key not in self._known:
            self._known[key] = self._new_id(row, label)
        return self._known[key]

    def find(self, label: Any) -> int | None:
        """Return a label's id by itself, None for one that the head does not know."""
        name, number = _name_and_number(label)
        named = self._named(name)
        return self._numbered(number) if named is None else named

    def _new_id(self, row: Row, label: Any) -> int:
        name, number = _name_and_number(label)
        named, numbered = self._named(name), self._numbered(number)
        if named is None and numbered is None:
            raise InputError(
                f"{row.place}: the checkpoint does not know the label {name[:60]!r}; it knows {listed(self._labels)} "
                f"(or numbers from 0 to {len(self._labels) - 1})"
            )
        if named is None:
            self._only_id = label if self._only_id is None else self._only_id
        elif numbered not in (None, named):
            self._differing = label if self._differing is None else self._differing
        if self._only_id is not None and self._differing is not None:
            raise InputError(self._ambiguity(row, self._differing, self._only_id))
        found = numbered if named is None else named
        assert found is not None
        return found

    def _ambiguity(self, row: Row, both: Any, only: Any) -> str:
        name, number = _name_and_number(both)
        named, numbered = self._named(name), self._numbered(number)
        assert named is not None and numbered is not None
        if isinstance(both, ClassLabel):
            return (
                f"{row.place}: the labels are ambiguous: the file calls {number} {name!r}, which is the checkpoint's "
                f"label {named}, and {_name_and_number(only)[1]} {str(only)!r}, which the checkpoint does not know; "
                f"write its names alone ({listed(self._labels)})"
            )
        return (
            f"{row.place}: the labels are ambiguous: {name!r} is the name of the label with id {named} and the id of "
            f"the label {self._labels[numbered]!r}, while {str(only).strip()!r} is no name, only an id; write names "
            f"alone ({listed(self._labels)})"
        )

    def _named(self, text: str) -> int | None:
        if text in self._exact:
            return self._exact[text]
        number = number_from_text(text)
        return self._lowered.get(text.lower()) if number is None else self._numbers.get(number)

    def _numbered(self, text: str) -> int | None:
        if text.lower() in FLAGS and len(self._labels) == 2:
            return FLAGS[text.lower()]
        number = number_from_text(text)
        if number is None or number != number.to_integral_value() or not 0 <= number < len(self._labels):
            return None
        return int(number)


def _name_and_number(label: Any) -> tuple[str, str]:
    """Return what may be a label's name, and what may be its id."""
    text = str(label).strip()
    return text, str(label.id) if isinstance(label, ClassLabel) else text


def number_from_text(text: str) -> Decimal | None:
    """Return the number that a text is, in ASCII digits, None for any other text."""
    return Decimal(text) if NUMBER.fullmatch(text) else None


def flag_from_label(label: Any) -> bool | None:
    """Return what a 0 or 1, or a true or false, says in any form; None for anything else."""
    text = _name_and_number(label)[1].lower()
    number = number_from_text(text)
    return bool(FLAGS[text]) if text in FLAGS else bool(number) if number in (0, 1) else None


def listed(labels: Sequence[str]) -> str:
    """Write the first labels."""
    return ", ".join(labels[:LISTED_LABELS]) + (", ..." if len(labels) > LISTED_LABELS else "")


def _only_once(pairs: Iterable[tuple[Key | None, int]]) -> dict[Key, int]:
    """Return key -> id of the keys that one label alone has."""
    found: dict[Key, list[int]] = {}
    for key, index in pairs:
        if key is not None:
            found.setdefault(key, []).append(index)
    return {key: indices[0] for key, indices in found.items() if len(indices) == 1}


def number_from_label(row: Row) -> float:
    """Return a score as a float. Raises `InputError` if it is no finite number."""
    check_label_of_text(row)
    try:
        value = float(row.label)  # type: ignore[arg-type]  # whatever it is, float() says whether it is a number
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{row.place}: the score {str(row.label)[:60]!r} is no number; name the column of scores")
    return value
