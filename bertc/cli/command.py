"""A command with the flags that all have, its options in sections, and `output` as its function's first argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from bertc.artefact.kinds import Kind
from bertc.cli.output import Output, check_stdout
from bertc.cli.paths import check_paths

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]
GENERAL = "Output"


class Option(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *arguments: Any, section: str = "Options", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.section = section


class Command(click.Command):
    """A command with --json, --quiet and --debug, which reach its function as `output`."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*arguments, **keywords)
        flags = (
            (("--json",), "Print the result as JSON."),
            (("-q", "--quiet"), "Say errors only, and what was asked for: answers, JSON."),
            (("--debug",), "Show the traceback of an error."),
        )
        for names, text in flags:
            self.params.append(Option([*names], is_flag=True, help=text, section=GENERAL))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the function with `output` in the place of the flags, unless it would write where it must not."""
        parent = ctx.find_object(Output) or Output()
        quiet, machine = ctx.params.pop("quiet"), ctx.params.pop("json")
        ctx.params.pop("debug")
        ctx.params["output"] = replace(parent, quiet=parent.quiet or quiet, json=machine)
        if machine:
            check_stdout("--json")
        check_paths(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section, in the order in which they first occur, the general one last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", GENERAL), []).append(record)
        general = sections.pop(GENERAL)
        for name, records in (*sections.items(), (GENERAL, general)):
            with formatter.section(name):
                formatter.write_dl(records)


class FiniteRange(click.FloatRange):
    """A number within bounds. "nan" and "inf", which Python takes for numbers, are none here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return found


def option(*names: str, section: str = "Options", **keywords: Any) -> Decorator:
    """Declare an option in a section of the help."""
    return click.option(*names, cls=Option, section=section, **keywords)


def force_option(kind: Kind) -> Decorator:
    """Declare --force, which replaces a thing of the kind that is not replaced without."""
    return option("--force", is_flag=True, help=f"Replace {kind.name} that is there (docs/files.md).")


def all_of(*options: Decorator) -> Decorator:
    """Apply several options in the order in which they are written."""

    def decorate(function: Any) -> Any:
        for declare in reversed(options):
            function = declare(function)
        return function

    return decorate
