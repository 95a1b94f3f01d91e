"""Write docs/cli.md from the help texts of the program: python docs/generate_cli.py"""

from __future__ import annotations

from pathlib import Path

import click

from bertc.cli.group import PROGRAM, root_command, summary_of
from bertc.core.plugins import COMMANDS

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100
INTRODUCTION = """# The commands

Written by `python docs/generate_cli.py` from the program itself; do not edit. `bertc COMMAND --help` prints the same.
"""


def page_text() -> str:
    """Return the page: the program's help, then each command's."""
    group = root_command(())
    root = click.Context(
        group,
        info_name=PROGRAM,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    parts = [INTRODUCTION, _block(group.get_help(root))]
    for name in COMMANDS.names():
        command = group.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH, max_content_width=WIDTH)
        parts += [f"## bertc {name}\n\n{summary_of(name)}\n", _block(command.get_help(context))]
    return "\n".join(parts)


def _block(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return f"```text\n{lines}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
