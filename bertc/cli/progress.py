"""How far long work is: a bar with the time left in a terminal, one line per stage elsewhere, on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from bertc.cli.output import Output, printable

if TYPE_CHECKING:
    from bertc.core.progress import Progress

NAME_WIDTH = 20
BAR_WIDTH = 20


@contextmanager
def shown_progress(output: Output) -> Iterator[Progress]:
    """Give the progress sink that fits the output and the terminal; it is closed at the end."""
    if output.quiet or output.json:
        yield NotesOnly(output)
    elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _drawn_bar() as sink:
            yield sink
    else:
        sink = StageLines(lambda text: click.echo(text, err=True))
        yield sink
        sink.end()


class NotesOnly:
    """Says the notes and nothing else."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore a stage."""

    def advance(self, units: int = 1) -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Print a line unless quiet."""
        self._output.note(text)

    def end(self) -> None:
        """Ignore the end of a stage."""


class StageLines:
    """Prints a line for each stage when it ends. It mutates: it remembers the stage that runs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._name: str | None = None
        self._begin = 0.0

    def stage(self, name: str, total: int | None = None) -> None:
        """End the stage before and begin another."""
        self.end()
        self._name, self._begin = name, time.monotonic()

    def advance(self, units: int = 1) -> None:
        """Nothing to print in the middle of a stage."""

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(printable(text))

    def end(self) -> None:
        """Print the line of the stage that ran."""
        if self._name is not None:
            self._say(f"{self._name:<{NAME_WIDTH}} {time_text(time.monotonic() - self._begin):>7}")
        self._name = None


class Bar(StageLines):
    """Draws the stage that runs, above it the lines of those that ended."""

    def __init__(self, drawing: Any) -> None:
        super().__init__(lambda text: drawing.console.print(text, markup=False, highlight=False, soft_wrap=True))
        self._drawing = drawing
        self._task: Any = None

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a stage; without a total the bar only shows that something happens."""
        super().stage(name, total)
        self._task = self._drawing.add_task(name, total=total)

    def advance(self, units: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._drawing.advance(self._task, units)

    def end(self) -> None:
        """Remove the bar and leave the stage's line."""
        if self._task is not None:
            self._drawing.remove_task(self._task)
            self._task = None
        super().end()


@contextmanager
def _drawn_bar() -> Iterator[Progress]:
    from rich.console import Console  # takes 0.1 s: not for --help
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Drawing
    from rich.text import Text

    class Left(ProgressColumn):
        """The time left; where nobody knows how much there is the time taken, and how much is done."""

        def render(self, task: Task) -> Text:
            left = task.time_remaining if task.total else None
            done = f"{int(task.completed):,} done in " if task.completed and not task.total else ""
            return Text(done + time_text(task.elapsed or 0.0) if left is None else f"{time_text(left)} left")

    columns = (
        TextColumn(f"{{task.description:<{NAME_WIDTH}}}", markup=False),
        BarColumn(bar_width=BAR_WIDTH),
        Left(),
    )
    with Drawing(*columns, console=Console(stderr=True), transient=True) as drawing:
        sink = Bar(drawing)
        yield sink
        sink.end()


def time_text(seconds: float) -> str:
    """Write a time as people read it.

    >>> time_text(3.14159), time_text(75), time_text(4000)
    ('3.1 s', '1:15', '1:06:40')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
