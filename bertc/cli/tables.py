"""Tables of text that fit the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

import click

from bertc.cli.output import Output, is_terminal, printable

NARROWEST = 20
UNLIMITED = 10_000
"""Columns where the output is no terminal: nothing is folded, so that other programs can read the lines."""


def print_table(output: Output, headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> None:
    """Print rows of cells; the last `numbers` columns are aligned to the right. Nothing with --quiet or --json."""
    if output.quiet or output.json:
        return
    from rich.console import Console  # takes 0.1 s: not for --help
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="")
    for index, header in enumerate(headers):
        right = index >= len(headers) - numbers
        table.add_column(header, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    width = shutil.get_terminal_size().columns if is_terminal() else UNLIMITED
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as drawn:  # rich itself would end with exit code 1 where nobody reads the output any more
        console.print(table)
    click.echo(drawn.get(), nl=False)


def print_facts(output: Output, facts: Iterable[tuple[str, str]]) -> None:
    """Print a line per fact, the values aligned and folded to the terminal."""
    listed = list(facts)
    width = max((len(name) for name, _ in listed), default=0) + 2
    columns = shutil.get_terminal_size().columns if is_terminal() else UNLIMITED
    for name, value in listed:
        folded = textwrap.wrap(value, max(columns - width, NARROWEST), break_on_hyphens=False) or [""]
        output.say(f"{name:<{width}}" + f"\n{'':<{width}}".join(folded))
