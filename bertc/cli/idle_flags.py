"""Flags that change nothing beside the others: refused, so that nobody takes what was ignored for done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bertc.recipe import Recipe
from bertc.recipe.file import value_of
from bertc.recipe.setting import Setting, listed, settings, settings_named

DATA = "validation.data"


def check_in_use(recipe: Recipe, flags: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a flag whose field means nothing because another is not set, which the command has too.

    Flags alone are asked: a recipe has a value of every field.
    """
    for setting in settings():
        if flags.get(setting.destination) in (None, ()):
            continue
        needs = [need for need in setting.about.needs if _needed(need).destination in flags]
        if needs and not any(_is_set(recipe, need) for need in needs):
            without = listed([_needed(need).about.flag + _value(need, " ") for need in needs], "or")
            flag = setting.about.flag
            ways = "give both, or leave it out"
            if recipe.validation.unvalidated and DATA in needs:  # which --validation-data excludes
                ways = f"give {_needed(DATA).about.flag} in the place of --unvalidated, or leave {flag} out"
            raise click.UsageError(f"{flag} changes nothing without {without}; {ways}")


def _needed(need: str) -> Setting:
    (setting,) = settings_named(need.partition("=")[0])
    return setting


def _value(need: str, before: str = "") -> str:
    _, _, value = need.partition("=")
    return before + value if value else ""


def _is_set(recipe: Recipe, need: str) -> bool:
    setting, wanted = _needed(need), _value(need)
    found = value_of(recipe, setting.section, setting.name)
    return bool(found == wanted if wanted else found)
