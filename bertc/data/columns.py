"""Which column of a table fills which role of a task: by the user's word, or by the usual names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertc.errors import InputError

LABEL_COLUMN = "label["
"""How the role of a column begins that says of one label whether it applies: label[sport]."""

OPTIONS = "(--column, or the data's own, as in --validation-column)"
"""Where ROLE=NAME is said: the commands that read several files have an option for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A role that a column may fill, the names under which it is usually found, and what it means.

    With `shared` it may be a column that has another role as well: what groups rows may be the text that they share.
    """

    role: str
    names: tuple[str, ...]
    meaning: str
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a task reads: one of `choices` (the first that a file has wins), and what it can use besides.

    The names of a choice of two columns are pairs: the i-th name of one goes with the i-th name of the other.
    `labels` are those that may each have a column of their own, of 0 and 1, instead of one column of labels. With
    `whole_groups` the rows of a group are nothing without each other: a limit takes all of them or none. With
    `groups_by_text` rows of the same first text are a group where no column says so.
    """

    choices: tuple[tuple[Column, ...], ...]
    optional: tuple[Column, ...] = ()
    labels: tuple[str, ...] = ()
    whole_groups: bool = False
    groups_by_text: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column of the layout, once."""
        return tuple(dict.fromkeys([column for choice in self.choices for column in choice] + list(self.optional)))

    def is_header(self, cells: Sequence[str], asked: Collection[str]) -> bool:
        """Say whether a first line is a header: it has a choice's usual names, a name that is asked for, or "label".

        One usual name of a label or of half a pair is not enough: "positive" is a column here and a label there.
        """
        names = [cell.strip() for cell in cells]
        if any(name in asked or name.lower() in ("label", "labels") for name in names):
            return True
        if self.labels and set(self.labels) <= set(names):
            return True
        return _complete_choice(self, {}, names) is not None


@dataclass(frozen=True, slots=True)
class Table:
    """A table form as it is read: column names ("1", "2", ... without a header) and (line, record) one by one.

    `first` has the cells of the first line of a file in which that may be a header.
    """

    form: str
    names: tuple[str, ...]
    headed: bool
    records: Iterator[tuple[int, Mapping[str, Any]]]
    first: tuple[str, ...] = ()


def resolve_columns(layout: Layout, table: Table, wanted: Mapping[str, str], where: str) -> dict[str, str]:
    """Return role -> column name. Raises `InputError` if a role has no column; the message lists what exists."""
    chosen = {
        role_of_key(layout, key, where): _named_column(table, name, f"{where}: '{key}={name}'")
        for key, name in wanted.items()
    }
    shared = {column.role for column in layout.columns if column.shared}
    taken = {name for role, name in chosen.items() if role not in shared}
    free = [name for name in table.names if name not in taken]
    choice = _complete_choice(layout, chosen, free)
    if choice is None:
        raise InputError(_no_choice(layout, table, where))
    for column in layout.optional:
        open_to = table.names if column.shared else [name for name in free if name not in choice.values()]
        found = chosen.get(column.role) or _first_name(column.names, open_to)
        if found is not None:
            choice[column.role] = found
    if table.headed and layout.labels and "label" not in chosen:
        return choice | _label_columns(layout, table, choice, where)
    return choice


def _label_columns(layout: Layout, table: Table, choice: dict[str, str], where: str) -> dict[str, str]:
    """Return the columns of single labels by role, none where one column has all labels."""
    free = [name for name in table.names if name not in choice.values() or name == choice.get("label")]
    found = {label: column for label in layout.labels if (column := _first_name((label.lower(),), free)) is not None}
    if not found or ("label" in choice and len(found) < len(layout.labels)):
        return {}
    if "label" in choice and choice["label"] not in found.values():
        raise InputError(
            f"{where}: the labels stand in the column {choice['label']} or in {', '.join(found.values())}, and nobody "
            f"says which; name the former with label={choice['label']}, or remove it"
        )
    missing = [label for label in layout.labels if label not in found]
    if missing:
        raise InputError(
            f"{where}: there is a column for the label {', '.join(found)} and none for {', '.join(missing[:10])}; give "
            "every label a column of 0 and 1, or name the column of all labels with label=NAME"
        )
    choice.pop("label", None)
    return {f"{LABEL_COLUMN}{label}]": column for label, column in found.items()}


def role_of_key(layout: Layout, key: str, where: str) -> str:
    """Return the role that a user's key means. Raises `InputError` for one that the task does not read."""
    lowered = key.lower()
    for column in layout.columns:
        if lowered == column.role:
            return column.role
    owners = [column.role for column in layout.columns if lowered in column.names]
    if len(owners) == 1:
        return owners[0]
    roles = ", ".join(column.role for column in layout.columns)
    raise InputError(f"{where}: '{key}' is no column this task reads; it reads {roles}")


def _named_column(table: Table, name: str, where: str) -> str:
    if name in table.names:
        return name
    if name.isdigit() and 1 <= int(name) <= len(table.names):
        return table.names[int(name) - 1]
    raise InputError(f"{where}: there is no such column; the file has {_listing(table)}")


def _complete_choice(layout: Layout, chosen: Mapping[str, str], free: Sequence[str]) -> dict[str, str] | None:
    asked = {role for role in chosen if any(role == c.role for choice in layout.choices for c in choice)}
    for choice in layout.choices:
        if not asked <= {column.role for column in choice}:
            continue
        rest = [column for column in choice if column.role not in chosen]
        for names in zip(*(column.names for column in rest), strict=True) if rest else [()]:
            found = [_first_name((name,), free) for name in names]
            if all(found):
                fixed = {column.role: chosen[column.role] for column in choice if column.role in chosen}
                filled = {column.role: str(name) for column, name in zip(rest, found, strict=True)}
                return {column.role: {**fixed, **filled}[column.role] for column in choice}
    return None


def _first_name(names: Iterable[str], present: Sequence[str]) -> str | None:
    lowered = {name.lower(): name for name in reversed(present)}
    return next((lowered[name] for name in names if name in lowered), None)


def _no_choice(layout: Layout, table: Table, where: str) -> str:
    needs = " or ".join("+".join(column.role for column in choice) for choice in layout.choices)
    example = min(layout.choices, key=len)[0].role  # what most files lack is the one text
    return (
        f"{where}: no column for {needs} was found; the file has {_listing(table)}; "
        f"name one with {example}={'NAME' if table.headed else 'NUMBER or NAME'} {OPTIONS}"
    )


def _listing(table: Table) -> str:
    if not table.headed:
        cells = ", ".join(cell.strip()[:40] for cell in table.first[:20])
        return (
            f"{len(table.names)} columns without a header (name them by number, 1 to {len(table.names)}), or the first "
            f"line is a header of unusual names (name one of them: {cells})"
        )
    return "the columns " + ", ".join(table.names[:20]) if table.names else "no columns at all"
