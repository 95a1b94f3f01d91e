"""Options of the form ROLE=NAME: which column of a file fills a role."""

from __future__ import annotations

import click

from bertc.cli.command import Decorator, option


def column_pair(value: str) -> tuple[str, str]:
    """Read ROLE=NAME, split at the first equals sign."""
    role, equals, name = value.partition("=")
    if not role or not equals or not name:
        raise click.BadParameter(f"'{value}' is not of the form ROLE=NAME, for example text=sentence")
    return role, name


def column_option(parameter: str, help: str, *, section: str = "Options") -> Decorator:
    """Declare --column, which may be repeated."""
    return option(
        "--column", parameter, multiple=True, type=column_pair, metavar="ROLE=NAME", section=section, help=help
    )
