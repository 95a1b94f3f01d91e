"""What a section of the recipe is made of: pydantic's fields, and what pydantic does not know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from bertc.core.plugins import Plugins

COLUMNS = "Which column fills a role, by name or by number from 1, where the usual names do not find it."
"""The meaning of every field that maps roles to columns."""


class Section(BaseModel):
    """A table of the recipe. Strict: "yes" is no boolean, 1.5 no integer. `title` heads its options in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Stands in a field's annotation beside pydantic's `Field`, which has the description, the example and the bounds.

    `flag` is the option ("--on/--off" for a switch with two, "/--off" for one that only switches off), none where only
    a recipe file sets the field. `metavar` names the option's value, where the type does not. `help` is the flag's own
    meaning where it is not the field's, `section` its place in the help where it is not with the rest. `left_out` says
    what no value means. A `path` that is relative is relative to the recipe file. `needs` are the keys of the fields of
    which one has to be set (KEY=VALUE: to that) for this one to mean anything.
    """

    flag: str = ""
    metavar: str | None = None
    help: str = ""
    section: str = ""
    left_out: str = ""
    path: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugin:
    """In a field's annotation: its value names one of the plugins of a kind, or is one of `also`.

    With `several` it may name some of the plugins, with commas between them.
    """

    plugins: Plugins
    also: tuple[str, ...] = ()
    several: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names that the field takes."""
        return (*self.plugins.names(), *self.also)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the name when the recipe is checked."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str | None) -> str | None:
        if name is None or name in self.names:
            return name
        parts = name.split(",") if self.several else [name]
        wrong = next((part for part in parts if part not in self.names), None)
        if wrong is not None:
            raise ValueError(f"'{wrong}' is none of {', '.join(self.names)}")
        if len(set(parts)) < len(parts) or set(parts) & set(self.also):
            alone = f", and without {' and '.join(self.also)}" if self.also else ""
            raise ValueError(f"'{name}' names several; name each once{alone}")
        return name
