"""Where long work says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where long work says how far it is. The command line draws a bar; tests and libraries pass `Silent()`."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage of `total` units (None: unknown)."""

    def advance(self, units: int = 1) -> None:
        """Report `units` more done in the current stage."""

    def note(self, text: str) -> None:
        """Say one line that stays on the screen."""

    def end(self) -> None:
        """End the current stage, so that what is said next is not of it."""


class Silent:
    """A progress sink that says nothing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore a stage."""

    def advance(self, units: int = 1) -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Ignore a line."""

    def end(self) -> None:
        """Ignore an end."""


SILENCE = Silent()
