"""The commands as click sees them: found by file name, imported only when one of them is run."""

from __future__ import annotations

import ast

import click

from bertc.cli.output import Output
from bertc.core.plugins import COMMANDS
from bertc.core.versions import __version__

PROGRAM = "bertc"


class LazyGroup(click.Group):
    """A group whose commands are the files of bertc/cli/commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands by file name, without importing one."""
        return list(COMMANDS.names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS.names():
            return None
        command: click.Command = COMMANDS.module(cmd_name).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises `InputError` with those that look like it, for a name that is none."""
        if args and not args[0].startswith("-"):
            COMMANDS.check_name(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, read from the files."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(name)) for name in COMMANDS.names()])


def summary_of(name: str) -> str:
    """Return a command's summary: the first line of its file's docstring."""
    documentation = ast.get_docstring(ast.parse(COMMANDS.file(name).read_text(encoding="utf-8")))
    return (documentation or "").split("\n")[0]


def root_command(arguments: tuple[str, ...]) -> click.Group:
    """Return the group for one command line."""

    @click.group(
        cls=LazyGroup,
        name=PROGRAM,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="Exit codes: 0 passed, 1 the verdict is not a pass, 2 wrong input or usage, 3 the environment lacks "
        "something, 70 an internal error.",
    )
    @click.version_option(__version__, prog_name=PROGRAM)
    @click.option("-q", "--quiet", is_flag=True, help="Say errors only, and what was asked for: answers, JSON.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @click.pass_context
    def group(context: click.Context, quiet: bool, debug: bool) -> None:
        """Compile a trained BERT checkpoint to an INT8 engine whose accuracy is proven."""
        context.obj = Output(quiet=quiet, arguments=arguments)

    return group
