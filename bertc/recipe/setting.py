"""A recipe's fields as options, comments and errors speak of them: read once from the sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from bertc.recipe.about import About, Plugin, Section
from bertc.recipe.sections import Recipe

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
    dict: "a table of texts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The range of a number; None where a side has none, `open` where the bound itself is outside."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def words(self) -> str:
        """Say the range.

        >>> Bounds(low=0, high=256).words(), Bounds(low=50, high=100, low_open=True).words()
        ('from 0 to 256', 'above 50 and at most 100')
        """
        if None not in (self.low, self.high) and not (self.low_open or self.high_open):
            return f"from {self.low} to {self.high}"
        low = f"{'above' if self.low_open else 'of at least'} {self.low}" if self.low is not None else ""
        high = f"{'below' if self.high_open else 'at most'} {self.high}" if self.high is not None else ""
        return " and ".join(filter(None, (low, high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A field of the recipe. `section` is empty for the recipe's own; `title` heads its options in the help.

    `kind` is the type of a value in TOML: bool, int, float, str, tuple (of texts) or dict (of `values`). `choices` are
    the texts that a value, an entry or a key may be; empty if any may. `several` of them may stand in one value, with
    commas. `default` is None where there is none, `example`
    where nothing needs one.
    """

    section: str
    name: str
    title: str
    kind: type
    values: type
    choices: tuple[str, ...]
    several: bool
    bounds: Bounds
    default: Any
    meaning: str
    example: Any
    about: About

    @property
    def key(self) -> str:
        """The name with the section's: calibration.samples."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def destination(self) -> str:
        """The name of the option's parameter: calibration__samples."""
        return f"{self.section}__{self.name}" if self.section else self.name

    def takes(self) -> str:
        """Say which values are allowed."""
        if self.choices:
            before: dict[type, str] = {str: "", tuple: "a list of ", dict: "a table with the keys "}
            names = before[self.kind] + listed([quoted(name) for name in self.choices], "or")
            return f"{names}, or several targets with commas, each once" if self.several else names
        return f"{_KINDS[self.kind]} {self.bounds.words()}".rstrip()


@cache
def settings() -> tuple[Setting, ...]:
    """Return all fields, in the order in which a recipe is written."""
    own = tuple(_settings_of(Recipe, ""))
    return own + tuple(setting for name, section in sections().items() for setting in _settings_of(section, name))


def sections() -> dict[str, type[Section]]:
    """Return the recipe's sections by name."""
    found = {name: field.annotation for name, field in Recipe.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Section)}


def title_of(section: str) -> str:
    """Return what heads a section's options in the help; "" for the recipe's own."""
    kind = sections()[section] if section else Recipe
    return str(kind.model_config["title"])


def settings_named(*names: str) -> tuple[Setting, ...]:
    """Return fields by key ("calibration.samples"); the name of a section stands for all of it that has a flag."""
    found: list[Setting] = []
    for name in names:
        chosen = [each for each in settings() if each.key == name or (each.section == name and each.about.flag)]
        assert chosen, f"{name} is neither a field nor a section of the recipe"
        found += chosen
    return tuple(found)


def quoted(text: str) -> str:
    """Write a text as in TOML, for a sentence."""
    return f'"{text}"'


def listed(names: Sequence[str], last: str) -> str:
    """Join names.

    >>> listed(["a", "b", "c"], "or")
    'a, b or c'
    """
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _settings_of(section: type[Section], name: str) -> Iterator[Setting]:
    for field, info in section.model_fields.items():
        about = next((each for each in info.metadata if isinstance(each, About)), None)
        if about is not None:
            yield _setting(name, field, info, about)


def _setting(section: str, name: str, info: FieldInfo, about: About) -> Setting:
    kind, values, choices = _kind_of(info.annotation)
    plugin = next((each for each in info.metadata if isinstance(each, Plugin)), None)
    return Setting(
        section=section,
        name=name,
        title=about.section or title_of(section),
        kind=kind,
        values=values,
        choices=choices if plugin is None else plugin.names,
        several=plugin is not None and plugin.several,
        bounds=_bounds_of(info.metadata),
        default=None if info.is_required() else info.get_default(call_default_factory=True),
        meaning=info.description or "",
        example=info.examples[0] if info.examples else None,
        about=about,
    )


def _kind_of(annotation: Any) -> tuple[type, type, tuple[str, ...]]:
    """Return the type of a value, that of what is in it, and the choices, of an annotation."""
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _kind_of(next(each for each in arguments if each is not NoneType))
    if origin is Literal:
        return str, str, arguments
    if origin is tuple:
        return tuple, str, _kind_of(arguments[0])[2]
    if origin is dict:
        return dict, arguments[1], _kind_of(arguments[0])[2]
    return annotation, annotation, ()


def _bounds_of(metadata: Sequence[Any]) -> Bounds:
    found: dict[str, Any] = {}
    for bound in metadata:
        match bound:
            case Ge(ge=low):
                found |= {"low": low}
            case Gt(gt=low):
                found |= {"low": low, "low_open": True}
            case Le(le=high):
                found |= {"high": high}
            case Lt(lt=high):
                found |= {"high": high, "high_open": True}
    return Bounds(**found)
