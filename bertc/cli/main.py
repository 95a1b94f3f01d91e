"""The entry point: run one command, and turn what went wrong into one line and an exit code.

0 passed, 1 the verdict is not a pass (and nothing else), 2 wrong input or usage, 3 the environment lacks something,
70 an internal error, 130 and 143 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from bertc.cli.group import PROGRAM, root_command
from bertc.cli.output import printable
from bertc.core.signals import Terminated, termination_raised
from bertc.errors import EXIT_INPUT, EXIT_PASSED, sentence_of_error

EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143
COMPLETION = "_BERTC_COMPLETE"
WHOLE = "no result is left half-written"


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    if COMPLETION in os.environ:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(root_command(()), {}, PROGRAM, COMPLETION, os.environ[COMPLETION]))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; whatever it raises becomes one line on stderr."""
    try:
        with termination_raised():
            code = _invoke(arguments)
        return code
    except Terminated as end:
        return _fail(f"terminated; {str(end) or WHOLE}", EXIT_TERMINATED)
    except (KeyboardInterrupt, click.Abort) as end:
        return _fail(f"interrupted; {str(end) or WHOLE}", EXIT_INTERRUPTED)
    except BrokenPipeError:
        _abandon_output()
        return EXIT_PIPE
    except click.ClickException as error:
        return _fail(_usage(error), EXIT_INPUT)
    except Exception as error:  # noqa: BLE001 - the last handler: whatever comes here becomes a sentence and a code
        if _wants_traceback(arguments):
            traceback.print_exception(error)
        return _fail(*sentence_of_error(error))


def _invoke(arguments: Sequence[str]) -> int:
    """Parse and run; nothing on the command line prints the help."""
    group = root_command(tuple(arguments))
    try:
        with group.make_context(PROGRAM, list(arguments) or ["--help"]) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as stop:
        code = stop.exit_code if arguments else EXIT_INPUT
    if sys.stdout is not None:
        sys.stdout.flush()  # here, where a full disk or a closed pipe still becomes an exit code
    return code if isinstance(code, int) else EXIT_PASSED


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    return f"{error.format_message().rstrip('.')}; see {path} --help"


def _fail(text: str, code: int) -> int:
    with suppress(BrokenPipeError):
        click.echo(f"error: {printable(' '.join(text.split()))}", err=True)
    return code


def _wants_traceback(arguments: Sequence[str]) -> bool:
    return "--debug" in arguments


def _abandon_output() -> None:
    """Send what is still buffered nowhere, or the interpreter complains about the closed pipe when it ends."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
