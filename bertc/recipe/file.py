"""Recipes as TOML files: read with what flags say over them, and written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bertc.errors import InputError
from bertc.recipe.faults import faults_in_order, sentence_of_fault
from bertc.recipe.sections import Recipe
from bertc.recipe.setting import settings

if TYPE_CHECKING:
    from tomlkit.items import Item

COMMAND_LINE = "the command line"
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def recipe_from_path(path: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Read a TOML recipe; `overrides` (nested by section) win over the file.

    Paths in the file are relative to the file. Raises `InputError` naming the field that is wrong.
    """
    document = document_from_path(path, what="recipe", remedy="bertc config writes one")
    resolve_paths(document, path.parent)
    return recipe_from_document(document, str(path), overrides)


def document_from_path(path: Path, *, what: str, remedy: str) -> dict[str, Any]:
    """Read a TOML file. Raises `InputError` naming the line that is no TOML; a sentence says `what` it is to be."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist; {remedy}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}, {_syntax_fault(str(error), text)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}; {remedy}") from error


def recipe_from_document(
    document: Mapping[str, Any], source: str, overrides: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """Check a recipe; `overrides` (nested by section) win over the document, which is `source`'s.

    Raises `InputError` naming the first field that is wrong, and how many more are.
    """
    merged = merged_documents(document, overrides)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        first, *more = faults_in_order(error, merged)
        where = COMMAND_LINE if _is_given(first["loc"], overrides) else source
        count = f" (and {len(more)} more)" if more else ""
        raise InputError(f"{where}: {sentence_of_fault(first)}{count}") from None


def text_from_recipe(recipe: Recipe) -> str:
    """Write a recipe as TOML, every field that has a value."""
    import tomlkit  # takes 0.05 s: not for --help

    document = tomlkit.document()
    for setting in settings():
        value = value_of(recipe, setting.section, setting.name)
        if setting.section and setting.section not in document:
            document.add(setting.section, tomlkit.table())
        if value is not None:
            table: Any = document[setting.section] if setting.section else document
            table.add(setting.name, toml_item(value))
    return tomlkit.dumps(document)


def value_of(recipe: Recipe, section: str, name: str) -> Any:
    """Return the value of a field, or None."""
    return getattr(getattr(recipe, section) if section else recipe, name)


def toml_item(value: Any) -> Item:
    """Return a field's value, or its example, as TOML in one line."""
    import tomlkit

    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    item: Item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
    return item


def _is_given(place: tuple[int | str, ...], overrides: Any) -> bool:
    """Say whether what is at a place of the recipe is an override."""
    if not isinstance(overrides, Mapping):
        return True
    return bool(place) and place[0] in overrides and _is_given(place[1:], overrides[place[0]])


def merged_documents(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with the overrides over it; a section that is no table stays, to be refused."""
    merged = dict(document)
    for section, values in overrides.items():
        before = document.get(section, {})
        if not isinstance(values, Mapping):
            merged[section] = values
        elif isinstance(before, Mapping):
            merged[section] = {**before, **values}
    return merged


def _syntax_fault(error: str, text: str) -> str:
    """Name line and column first; tomllib does not count to the end of a document."""
    found = _PLACE.search(error)
    lines = text.split("\n")
    line, column = (found["line"], found["column"]) if found and found["line"] else (len(lines), len(lines[-1]) + 1)
    return f"line {line}, column {column}: this is no TOML: {_PLACE.sub('', error)}; correct the line"


def resolve_paths(document: dict[str, Any], base: Path) -> None:
    """Make the recipe's relative paths those of the recipe's folder: see `_placed`."""
    for setting in settings():
        values = document.get(setting.section) if setting.section else document
        if setting.about.path and isinstance(values, dict) and isinstance(text := values.get(setting.name), str):
            values[setting.name] = _placed(text, base)


def _placed(text: str, base: Path) -> str:
    """Return a path of the recipe's folder where something is there, or nothing here and its folder is there.

    So "models/typo" is a path that does not exist, and not the model `typo` of somebody `models` on the hub.
    """
    path = base / text
    here = Path(text)
    mistyped = len(here.parts) > 1 and path.parent.is_dir() and not here.exists()
    return str(path) if path.exists() or mistyped else text
