"""What is wrong with a recipe, in one sentence: the key, what is allowed, the nearest name that is known."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bertc.recipe.setting import Setting, listed, quoted, sections, settings

LONGEST_VALUE = 40
Place = tuple[int | str, ...]


def faults_in_order(error: ValidationError, document: Mapping[str, Any]) -> list[ErrorDetails]:
    """Return what pydantic found in the order of the document; what is missing comes last."""
    return sorted(error.errors(include_url=False), key=lambda fault: _rank(fault["loc"], document))


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another, if one is like it."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)


def _rank(place: Place, document: Any) -> tuple[float, ...]:
    """Return where a place stands in the document; what is not in it comes last."""
    if not place:
        return ()
    if isinstance(document, Mapping):
        names = list(document)
        at = names.index(place[0]) if place[0] in names else math.inf
        return (at, *_rank(place[1:], document.get(str(place[0]))))
    return (float(place[0]),) if isinstance(place[0], int) else ()


def sentence_of_fault(fault: ErrorDetails) -> str:
    """Say what is wrong."""
    place, value = fault["loc"], fault["input"]
    setting = next((each for each in settings() if place[: len(_place(each))] == _place(each)), None)
    if setting is None:
        return _sentence_without_field(fault)
    if fault["type"] == "missing":
        return f"{setting.key} is missing; write {setting.name} = {shown(setting.example)}, or name it as an argument"
    if setting.kind is dict and len(place) > len(_place(setting)):
        return _sentence_of_entry(setting, place, value)
    what = "has" if len(place) > len(_place(setting)) else "is"
    return f"{setting.key} {what} {shown(value)}, but it takes {setting.takes()}{_hint(value, setting.choices)}"


def _sentence_of_entry(setting: Setting, place: Place, value: Any) -> str:
    """Say what is wrong in a table such as columns: the key, or the value at a key."""
    key = place[len(_place(setting))]
    if place[-1] == "[key]":
        return (
            f"{setting.key} has the key {quoted(str(key))}, but it takes {setting.takes()}{_hint(key, setting.choices)}"
        )
    kind = "a number" if setting.values is float else "a text"
    return f"{setting.key}.{key} is {shown(value)}, but it takes {kind}"


def _sentence_without_field(fault: ErrorDetails) -> str:
    """Say what is wrong where no field is known: a name that is none, a section that is no table, a whole section."""
    place, value = fault["loc"], fault["input"]
    name = str(place[-1])
    if fault["type"] == "extra_forbidden":
        return _unknown_field(str(place[0]), name) if len(place) > 1 else _unknown_name(name, value)
    if fault["type"] == "value_error":
        return f"[{name}]: {fault['ctx']['error']}"
    return f"{name} is {shown(value)}, but it is a section; write its fields below a line [{name}]"


def _unknown_field(section: str, name: str) -> str:
    known = [each.name for each in settings() if each.section == section]
    elsewhere = [f"[{each.section}]" for each in settings() if each.section and each.name == name]
    if nearest(name, known) is None and elsewhere:
        return f"{section}.{name} is no field of [{section}] (it is one of {listed(elsewhere, 'and')})"
    hint = _hint(name, known) or f" (there are {listed(known, 'and')})"
    return f"{section}.{name} is no field of [{section}]{hint}"


def _unknown_name(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        near = nearest(name, sections())
        hint = f"did you mean [{near}]?" if near else f"there are {listed([f'[{each}]' for each in sections()], 'and')}"
        return f"[{name}] is no section of a recipe ({hint})"
    own = [each.name for each in settings() if not each.section]
    elsewhere = [f"[{each.section}]" for each in settings() if each.section and each.name == name]
    if nearest(name, own) is None and elsewhere:
        return f"{name} stands before the sections, but is a field of {listed(elsewhere, 'and')}"
    hint = _hint(name, own) or f" (there are {listed([*own, *(f'[{each}]' for each in sections())], 'and')})"
    return f"{name} is no field of a recipe{hint}"


def _hint(value: object, known: Iterable[str]) -> str:
    near = nearest(value, known)
    return "" if near is None else f" (did you mean {near}?)"


def _place(setting: Setting) -> Place:
    return (setting.section, setting.name) if setting.section else (setting.name,)


def shown(value: Any) -> str:
    """Write a value as in TOML, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    text = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
    return quoted(text) if isinstance(value, str) else text
