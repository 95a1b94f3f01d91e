"""The errors a user can meet. Each is one sentence: what is wrong, where, and what to do.

The exit codes are an interface: 0 passed, 1 the gate's verdict is not a pass (and nothing else ever gives 1), 2 the
input or the usage is wrong, 3 the environment lacks something, 70 an internal error, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno

EXIT_PASSED = 0
EXIT_GATE = 1
EXIT_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERNAL = 70

FULL_DISK = "the disk is full; free some space, or write to another disk"
ISSUES = "please report it with the output of --debug to the maintainers (CONTRIBUTING.md)"


class BertcError(Exception):
    """An error with an exit code; its text is the one sentence that the user reads."""

    exit_code = EXIT_INTERNAL


class InputError(BertcError):
    """The input or the usage is wrong (exit code 2)."""

    exit_code = EXIT_INPUT


class OutputError(InputError):
    """An engine gave numbers that are not finite: of these weights, and not of who asks for an answer."""


class EnvironmentLackError(BertcError):
    """A library, device, instruction set or space on the disk is missing (exit code 3)."""

    exit_code = EXIT_ENVIRONMENT


def is_full(error: OSError) -> bool:
    """Say whether an error of the disk is that it, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sentence_of_error(error: Exception) -> tuple[str, int]:
    """Say in a sentence what happened, and the exit code; whatever a command raises has one."""
    if isinstance(error, BertcError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "there is not enough memory; use a machine with more, or fewer rows", EXIT_ENVIRONMENT
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("bertc"):
        return f"the package {error.name} is not installed; install bertc with its dependencies", EXIT_ENVIRONMENT
    if isinstance(error, OSError) and is_full(error):
        place = error.filename2 or error.filename  # of a copy the second is what was written
        return (f"{place}: {FULL_DISK}" if place else FULL_DISK), EXIT_ENVIRONMENT
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}no file may be so large here; raise the limit (ulimit -f)", EXIT_ENVIRONMENT
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check the path and its permissions", EXIT_INPUT
    name = type(error).__name__
    return f"internal error: {name}: {error}; run again with --debug to see where, and {ISSUES}", EXIT_INTERNAL
