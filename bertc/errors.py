"""The errors a user can meet. Each is one sentence: what is wrong, where, and what to do.

The exit codes are an interface: 0 passed, 1 the gate's verdict is not a pass (and nothing else ever gives 1), 2 the
input or the usage is wrong, 3 the environment lacks something, 70 an internal error, 130 and 143 interrupted.
"""

from __future__ import annotations

EXIT_PASSED = 0
EXIT_GATE = 1
EXIT_INPUT = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERNAL = 70


class BertcError(Exception):
    """An error with an exit code; its text is the one sentence that the user reads."""

    exit_code = EXIT_INTERNAL


class InputError(BertcError):
    """The input or the usage is wrong (exit code 2)."""

    exit_code = EXIT_INPUT


class EnvironmentLackError(BertcError):
    """A library, device, instruction set or space on the disk is missing (exit code 3)."""

    exit_code = EXIT_ENVIRONMENT
