"""What was read of a data file, said: form, header, columns, which label means which, rows, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertc.data.rows import Dataset, Row

MOST_LABELS = 50
"""Labels of a file that are kept with their meaning."""

SHOWN_LABELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a file was read.

    `header` is None for a form that has none. `columns` says which column filled which role, `labels` what a label of
    the file means to the checkpoint (the first 50 that differ), `scheme` in which form tags are. `labelled` of the
    `rows` have a label, None where labels do not matter; `half_empty` of them are pairs of which one text is empty.
    `left_out` counts what is no row, and labels that mean nothing to the task.
    """

    form: str
    header: bool | None
    columns: Mapping[str, str]
    labels: Mapping[str, str]
    rows: int
    labelled: int | None
    scheme: str | None = None
    half_empty: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def sentence(self) -> str:
        """Say all of it in a line."""
        return "; ".join(self._parts())

    def as_dict(self) -> dict[str, Any]:
        """Return it with the keys of report.json."""
        return {
            "form": self.form,
            "header": self.header,
            "columns": dict(self.columns),
            "labels": dict(self.labels),
            "rows": self.rows,
            "labelled": self.labelled,
            "scheme": self.scheme,
            "left_out": dict(self.left_out),
            "sentence": self.sentence(),
        }

    def _parts(self) -> Iterator[str]:
        headers = {True: " with a header", False: " without a header, its first line is a row", None: ""}
        yield self.form + headers[self.header]
        if self.columns:
            yield "columns " + ", ".join(f"{role}={column}" for role, column in self.columns.items())
        other = [f"{given!r} is {name}" for given, name in self.labels.items() if given != name]
        if self.labels and not other:
            yield "labels by name"
        if other:
            yield "labels " + ", ".join(other[:SHOWN_LABELS]) + (", ..." if len(other) > SHOWN_LABELS else "")
        if self.scheme is not None:
            yield f"tags {self.scheme}"
        yield f"{self.rows} rows" + ("" if self.labelled in (None, self.rows) else f", {self.labelled} with a label")
        if self.half_empty:
            yield f"{self.half_empty} with an empty text beside the other"
        for what, count in self.left_out.items():
            yield f"{count} {what} left out"


def reading_from_rows(
    dataset: Dataset, checked: Sequence[Row], labels: Sequence[str], scheme: str | None = None
) -> Reading:
    """Compare a file's rows with what a task's `check_rows` made of them; `labels` are the head's names."""
    read = [row.labelled and not row.from_text for row in checked]
    unread = sum(row.labelled and not kept for row, kept in zip(dataset.rows, read, strict=True))
    return Reading(
        form=dataset.form,
        header=dataset.header,
        columns=dataset.columns,
        labels=_meanings(dataset.rows, checked, labels) if labels else {},
        rows=len(checked),
        labelled=sum(read),
        scheme=scheme,
        half_empty=_half_empty(checked),
        left_out={**dataset.left_out, **({"labels": unread} if unread else {})},
    )


def reading_of_texts(dataset: Dataset, rows: Sequence[Row]) -> Reading:
    """Say how a file was read of which the texts of these rows are used, and no label."""
    return Reading(
        form=dataset.form,
        header=dataset.header,
        columns=dataset.columns,
        labels={},
        rows=len(rows),
        labelled=None,
        half_empty=_half_empty(rows),
        left_out=dict(dataset.left_out),
    )


def _half_empty(rows: Sequence[Row]) -> int:
    return sum(not all(text.strip() for text in row.texts) for row in rows)


def _meanings(rows: Sequence[Row], checked: Sequence[Row], labels: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for given, meant in zip(rows, checked, strict=True):
        for text, name in _pairs(given, meant, labels):
            found.setdefault(text, name)
        if len(found) >= MOST_LABELS:
            break
    return dict(sorted(found.items())[:MOST_LABELS])


def _pairs(given: Row, meant: Row, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    if given.tags is not None and meant.tags is not None:
        yield from zip(map(str, given.tags), map(str, meant.tags), strict=True)
    elif meant.labelled and labels and not meant.from_text:
        yield _cell_text(given.label), ", ".join(labels[index] for index in _ids(meant.label)) or "none"


def _ids(label: Any) -> tuple[int, ...]:
    """Return the ids of a checked label; a score has none."""
    if isinstance(label, tuple):
        return label
    return (label,) if isinstance(label, int) else ()


def _cell_text(label: Any) -> str:
    if isinstance(label, (list, tuple)):
        return "[" + ", ".join(str(int(item) if isinstance(item, bool) else item) for item in label) + "]"
    return str(label).strip()
