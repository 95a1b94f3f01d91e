"""A recipe's fields as options of the command line, and back.

The option of a field is made of what `bertc.recipe.sections` says of it; its parameter has the name `section__field`.
None of them has a default of its own: what is not given is left to the recipe file, and then to the recipe's defaults,
which the help texts repeat. (Importing the recipe takes pydantic: docs/decisions/0014-recipe.md.)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bertc.cli.columns import column_pair
from bertc.cli.command import Decorator, FiniteRange, all_of, option
from bertc.cli.paths import Reads
from bertc.recipe import Recipe, recipe_from_document, recipe_from_path
from bertc.recipe.file import COMMAND_LINE
from bertc.recipe.setting import Bounds, Setting, settings_named


def recipe_options(*names: str) -> Decorator:
    """Declare the options of fields by key ("calibration.samples"), or of all fields of a section that have one."""
    return all_of(*(_option_of(setting) for setting in settings_named(*names)))


def weighted_names(value: str) -> dict[str, float]:
    """Read logits,hidden=0.5: names with weights, 1 where none is given.

    >>> weighted_names("logits,hidden=0.5")
    {'logits': 1.0, 'hidden': 0.5}
    """
    weights: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, _, weight = item.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"'{item}' is not of the form NAME=WEIGHT, for example hidden=0.5") from None
    return {} if list(weights) == ["none"] else weights


def recipe_from_flags(checkpoint: str | None, recipe: str | None, flags: Mapping[str, Any]) -> Recipe:
    """Return the recipe file's recipe with the flags over it; without a file, the flags' own."""
    overrides = overrides_from_flags(flags)
    if checkpoint is not None:
        overrides["checkpoint"] = checkpoint
    if recipe is not None:
        return recipe_from_path(Path(recipe), overrides)
    if checkpoint is None:
        raise click.UsageError("name a CHECKPOINT, or a recipe that does (--recipe)")
    return recipe_from_document(overrides, COMMAND_LINE)


def overrides_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, nested by section; a flag that contradicts a field of a recipe file empties that field."""
    overrides: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value == ():
            continue
        section, _, field = name.rpartition("__")
        values = overrides.setdefault(section, {}) if section else overrides
        values[field] = dict(value) if field == "columns" else value
    calibration, validation = overrides.get("calibration", {}), overrides.get("validation", {})
    if "data" in calibration and "table" not in calibration:
        calibration["table"] = None
    training = overrides.get("training", {})
    lengths = {"epochs", "steps", "minutes"}
    if lengths & training.keys():
        training.update(dict.fromkeys(lengths - training.keys()))
    if validation.get("unvalidated"):
        if "data" in validation:
            raise click.UsageError("--unvalidated and --validation-data exclude each other")
        validation["data"] = None
    return overrides


def _option_of(setting: Setting) -> Decorator:
    """Declare a field's option."""
    flag, metavar = setting.about.flag, setting.about.metavar
    kind: dict[str, Any]
    if setting.kind is bool:
        kind = {} if "/" in flag.lstrip("/") else {"is_flag": True, "flag_value": not flag.startswith("/")}
    else:
        kind = {"type": _type_of(setting), "multiple": _is_repeatable(setting)}
        kind["metavar"] = "N" if setting.kind in (int, float) else metavar
    return option(
        flag.lstrip("/"), setting.destination, default=None, section=setting.title, help=_help_of(setting), **kind
    )


class Names(click.Choice[str]):
    """One of some names, or several of them with commas between."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is. Raises `BadParameter` for a part that is none of the names."""
        return ",".join(super(Names, self).convert(part, param, ctx) for part in str(value).split(","))


def _is_repeatable(setting: Setting) -> bool:
    return setting.kind is tuple or (setting.kind is dict and setting.values is str)


def _type_of(setting: Setting) -> Any:
    """Return what click reads a value with."""
    if setting.kind is dict:
        return column_pair if _is_repeatable(setting) else weighted_names
    if setting.choices:
        return Names(setting.choices) if setting.several else click.Choice(setting.choices)
    bounds = setting.bounds
    if setting.about.path:
        return Reads(str)
    if setting.kind not in (int, float) or bounds == Bounds():
        return str if setting.kind is tuple else setting.kind
    number: Any = click.IntRange if setting.kind is int else FiniteRange
    return number(min=bounds.low, max=bounds.high, min_open=bounds.low_open, max_open=bounds.high_open)


def _help_of(setting: Setting) -> str:
    """Say what a field means, which names it takes where the metavar does not, and its default."""
    parts = [setting.about.help or setting.meaning]
    if setting.choices and setting.about.metavar and setting.kind is str:
        parts.append(f"One of {', '.join(setting.choices)}.")
    if _is_repeatable(setting):
        parts.append("Repeatable.")
    default = setting.about.left_out or _default_of(setting)
    return " ".join([*parts, f"Default: {default}."] if default else parts)


def _default_of(setting: Setting) -> str:
    """Write a default as on the command line; empty where a help does not name it."""
    value, flag = setting.default, setting.about.flag
    if isinstance(value, bool):
        on, off, _ = f"{flag}//".split("/", 2)
        return (on if value else off) if on and off else ""
    if isinstance(value, dict):
        return ",".join(name if weight == 1 else f"{name}={weight:g}" for name, weight in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value in (None, ()) else str(value)
