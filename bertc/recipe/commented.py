"""A recipe as a TOML file for people: every field, its meaning, and an example where it has no value."""

from __future__ import annotations

import textwrap

import tomlkit
from tomlkit.container import Container
from tomlkit.items import Table

from bertc.recipe.file import toml_item, value_of
from bertc.recipe.sections import Recipe
from bertc.recipe.setting import Setting, listed, quoted, sections, settings

WIDTH = 100


def commented_recipe(recipe: Recipe, *, schema: str = "") -> str:
    """Return the recipe as TOML with all fields explained; `schema` is the help on the data's columns."""
    document = tomlkit.document()
    document.add(tomlkit.comment("A recipe of bertc: bertc build --recipe THIS_FILE -o OUT. Flags override it."))
    document.add(tomlkit.nl())
    _add_fields(document, recipe, "")
    if schema:
        document.add(tomlkit.nl())
    for line in schema.splitlines():
        document.add(tomlkit.comment(line))
    for name in sections():
        table = tomlkit.table()
        _add_fields(table, recipe, name)
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document)


def _add_fields(table: Container | Table, recipe: Recipe, section: str) -> None:
    """Add a section's fields: a comment each, and a line that is commented out where there is no value."""
    for setting in settings():
        if setting.section != section:
            continue
        for line in _explanation(setting):
            table.add(tomlkit.comment(line))
        value = value_of(recipe, section, setting.name)
        if value is None:
            table.add(tomlkit.comment(f"{setting.name} = {toml_item(setting.example).as_string()}"))
        else:
            table.add(setting.name, toml_item(value))


def _explanation(setting: Setting) -> list[str]:
    """Say in lines what a field means, what it may be, and what it means to leave it out."""
    parts = [setting.meaning]
    if setting.choices and setting.kind is not dict:
        several = "One of " if setting.kind is str else "Of "
        names = listed([quoted(name) for name in setting.choices], "or")
        parts.append(f"{several if len(setting.choices) > 1 else 'Only '}{names}.")
    if setting.about.left_out:
        parts.append(f"Left out: {setting.about.left_out}.")
    if setting.about.path:
        parts.append("Relative to this file.")
    lines = textwrap.wrap(" ".join(parts), WIDTH, break_on_hyphens=False)
    if setting.default is not None and setting.example is not None:
        lines.append(f"For example {toml_item(setting.example).as_string()}")
    return lines
