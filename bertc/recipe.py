"""The recipe of a build: what a user decides, as a value, from flags or a TOML file.

Sections follow the stages. Defaults are those that are right for most; a recipe file needs to name only what differs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertc.errors import InputError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class CalibrationRecipe(_Section):
    """The text that ranges come from. `table` reuses a table of an earlier calibration instead of text.

    `percentile` left out means 99.99, and the maximum for the sites of the residual stream.
    """

    data: str | None = None
    columns: dict[str, str] = {}
    samples: int = Field(default=256, ge=1)
    seed: int = 0
    calibrator: str = "percentile"
    percentile: float | None = Field(default=None, gt=50, le=100)
    table: str | None = None


class QuantizationRecipe(_Section):
    """The scheme. `granularity` and `smoothing` left out mean the mode's own; smoothing 0 is none."""

    mode: Literal["1", "2", "3"] = "1"
    granularity: Literal["tensor", "channel"] | None = None
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    keep_float: tuple[str, ...] = ()


class ValidationRecipe(_Section):
    """The labelled data and the gates. `limit` uses a seeded sample of that many rows instead of all."""

    data: str | None = None
    columns: dict[str, str] = {}
    limit: int | None = Field(default=None, ge=1)
    gates: tuple[str, ...] = ()
    max_drop: str | None = None
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    preset: Literal["99%", "99.9%"] | None = None
    decide: Literal["point", "bound"] = "point"
    unvalidated: bool = False


class EngineRecipe(_Section):
    """Where it runs.

    `threads` 0 means all cores, 256 are the most; `max_length` None means the model's (384 for question answering).
    """

    target: str = "ort-cpu"
    threads: int = Field(default=0, ge=0, le=256)
    max_length: int | None = Field(default=None, ge=8)


class Recipe(_Section):
    """A whole build."""

    checkpoint: str
    task: str | None = None
    calibration: CalibrationRecipe = CalibrationRecipe()
    quantization: QuantizationRecipe = QuantizationRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    engine: EngineRecipe = EngineRecipe()


def recipe_from_path(path: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Read a TOML recipe; `overrides` (nested by section) win over the file.

    Paths in the file are relative to the file. Raises `InputError` naming the field that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"recipe {path} does not exist; bertc config writes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}; see docs/cli.md for the format") from error
    _resolve_paths(document, path.parent)
    for section, values in overrides.items():
        if isinstance(values, Mapping):
            before = document.get(section, {})
            document[section] = {**before, **values} if isinstance(before, dict) else before
        else:
            document[section] = values
    return recipe_from_document(document, str(path))


def recipe_from_document(document: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe. Raises `InputError` naming the first field that is wrong."""
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the recipe"
        raise InputError(f"{source}: {where}: {fault['msg']}") from None


def text_from_recipe(recipe: Recipe) -> str:
    """Write a recipe as TOML, every field that has a value."""
    document = recipe.model_dump(exclude_none=True, mode="json")
    lines = [f"{name} = {_toml(value)}" for name, value in document.items() if not isinstance(value, dict)]
    for name, section in document.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_toml(item) for item in value) + "]"


def _quoted(text: str) -> str:
    """Write a TOML basic string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'


def _resolve_paths(document: dict[str, Any], base: Path) -> None:
    """Make the recipe's relative paths those of the recipe's folder, where something is there."""

    def resolved(text: Any) -> Any:
        return str(base / text) if isinstance(text, str) and (base / text).exists() else text

    document.update({"checkpoint": resolved(document["checkpoint"])} if "checkpoint" in document else {})
    for section, field in (("calibration", "data"), ("calibration", "table"), ("validation", "data")):
        values = document.get(section)
        if isinstance(values, dict) and field in values:
            values[field] = resolved(values[field])
