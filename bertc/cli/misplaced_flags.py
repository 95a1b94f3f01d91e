"""Flags of something that is not there: refused, so that nobody takes what was ignored for done.

Those of commands with a recipe are in `idle_flags.py`, which loads the recipe; a command's help must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

PERCENTILE = "percentile"
"""The calibrator that a table is looked at with where none is named, and the only one that has a percentile."""


def refuse_given(flags: Mapping[str, Any], of: str, ways: str = "leave it out") -> None:
    """Raise `UsageError` for the first of these flags that was given: they are `of` something that is not there."""
    for flag, value in flags.items():
        if value is not False and value not in (None, ()):
            raise click.UsageError(f"{flag} is of {of}; {ways}")


def check_percentile(calibrator: str | None, percentile: float | None) -> None:
    """Refuse a percentile for another calibrator than that of the name, as `check_in_use` does for a recipe's."""
    if calibrator not in (None, PERCENTILE):
        refuse_given({"--percentile": percentile}, f"--calibrator {PERCENTILE}, and {calibrator} was given")
