"""What is done with work that loses its worker: one rule for every executor."""

from __future__ import annotations

from bertc.errors import EnvironmentLackError

TRIES = 3
"""So often a task is begun whose worker is lost: once is an accident, thrice is the task."""


def lost_too_often() -> EnvironmentLackError:
    """Return the error of a task that lost its worker so often."""
    return EnvironmentLackError(
        f"a worker's process ended by itself {TRIES} times at the same work, perhaps for lack of memory; "
        "use fewer workers (--workers 1), or a machine with more memory"
    )
