"""Paths on the command line: each says whether it is read or written, and what is written there.

Whoever declares a path with one of these types has it checked before the command begins (`bertc.artefact.destination`,
docs/files.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.artefact.kinds import Kind

if TYPE_CHECKING:
    from bertc.artefact.destination import Destination, Source

STDIN = "-"


class _PathType(click.Path):
    """A path that is not empty: what an unset variable of a shell leaves."""

    def __init__(self, kind: type[str] | type[Path] = Path) -> None:
        super().__init__(readable=False, path_type=kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse the empty path, which would mean the current folder."""
        if not str(value) or value == Path():
            self.fail("an empty path names nothing; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


class Reads(_PathType):
    """A file or folder that a command reads."""


class Writes(_PathType):
    """A file or folder that a command writes; with `when`, only if that flag is given, and else it is read."""

    def __init__(self, written: Kind, *, when: str | None = None) -> None:
        super().__init__()
        self.written = written
        self.when = when

    def is_written(self, parameters: Mapping[str, Any]) -> bool:
        """Say whether a command line with these parameters writes it."""
        return self.when is None or bool(parameters[self.when])


def check_paths(context: click.Context) -> None:
    """Refuse what a command line must not write. Raises `InputError`."""
    destinations = destinations_of(context)
    if destinations:
        from bertc.artefact.destination import check_destinations

        check_destinations(destinations, _sources_of(context), force=bool(context.params.get("force")))


def destinations_of(context: click.Context) -> tuple[Destination, ...]:
    """List what a command line writes."""
    from bertc.artefact.destination import Destination

    return tuple(
        Destination(option=_name_of(parameter), path=path, kind=kind.written)
        for parameter, kind, path in _paths_of(context)
        if isinstance(kind, Writes) and kind.is_written(context.params)
    )


def _sources_of(context: click.Context) -> Iterator[Source]:
    from bertc.artefact.destination import Source

    for parameter, kind, path in _paths_of(context):
        if not (isinstance(kind, Writes) and kind.is_written(context.params)):
            yield Source(option=_name_of(parameter), path=path)


def _paths_of(context: click.Context) -> Iterator[tuple[click.Parameter, _PathType, Path]]:
    for parameter in context.command.params:
        if isinstance(parameter.type, _PathType):
            value = context.params.get(str(parameter.name))
            for each in value if isinstance(value, tuple) else (value,):
                if each is not None and each != STDIN:
                    yield parameter, parameter.type, Path(each)


def _name_of(parameter: click.Parameter) -> str:
    """Return what a user calls it: -o, --plot, CHECKPOINT."""
    return parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.human_readable_name).rstrip(".")
