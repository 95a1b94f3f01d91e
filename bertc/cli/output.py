"""What a command may say, and where: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from typing import Any

import click

from bertc.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How the user wants to be told: with `quiet` errors, answers and JSON only; `json` prints results for machines.

    `arguments` is the command line, for the report.
    """

    quiet: bool = False
    json: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def command_line(self) -> str:
        """The command line as it can be typed again."""
        return shlex.join(["bertc", *self.arguments])

    def say(self, text: str = "") -> None:
        """Print a line for people; nothing with --quiet or --json."""
        if not (self.quiet or self.json):
            click.echo(printable(text))

    def note(self, text: str) -> None:
        """Print a line beside the results, on stderr; nothing with --quiet."""
        if not self.quiet:
            click.echo(printable(text), err=True)

    def warn(self, text: str) -> None:
        """Print a warning, on stderr; nothing with --quiet."""
        self.note(f"warning: {text}")

    def fail(self, text: str) -> None:
        """Print the one line of a verdict that is not a pass, on stderr, whatever the flags."""
        click.echo(printable(text), err=True)

    def tell(self, document: Any, *lines: str) -> None:
        """Print a result: as JSON with --json, else in lines for people."""
        if self.json:
            self.print_json(document)
        for line in lines:
            self.say(line)

    def print_json(self, document: Any) -> None:
        """Print a result as JSON."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def check_stdout(what: str) -> None:
    """Refuse to lose a result: `what` prints to stdout, which the caller has closed. Raises `InputError`."""
    if sys.stdout is None:
        raise InputError(f"{what} prints to the standard output, which is closed; open it, or redirect it to a file")


def is_terminal() -> bool:
    """Say whether stdout is a terminal; a closed one is none."""
    return sys.stdout is not None and sys.stdout.isatty()


def printable(text: str) -> str:
    """Replace what could steer a terminal: text may come from somebody else's file.

    >>> printable("label \\x1b[2J")
    'label ?[2J'
    """
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
