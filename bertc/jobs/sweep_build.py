"""One build of a sweep, as a process of its own makes it. In: a task, which can be pickled. Out: how it ended."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bertc.cache.stages import UNCHANGED, Work
from bertc.cache.store import StageCache
from bertc.core.signals import termination_raised
from bertc.errors import EXIT_INTERNAL, sentence_of_error
from bertc.jobs.build import build
from bertc.jobs.fastest import build_fastest
from bertc.recipe import AUTO_TARGET, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be built where; `alone` says that no other build runs meanwhile. `cache` is a folder, None for none.

    `command` is the command line, for the report.
    """

    name: str
    recipe: Recipe
    out: Path
    cache: Path | None
    command: str
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a build ended: the sentence and exit code of its error (none: there is an artefact), and what it noted.

    `trace` is where an internal error happened.
    """

    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
    trace: str = ""
    notes: tuple[str, ...] = ()


class _Notes:
    """A progress sink that keeps the notes; what came from the cache is none. It grows."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore a stage."""

    def advance(self, units: int = 1) -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Keep a line."""
        if not text.endswith(UNCHANGED):
            self.texts.append(text)

    def end(self) -> None:
        """Ignore the end of a stage."""


def build_task(task: Task) -> Outcome:
    """Build an artefact. An error is a result, as the other builds go on; SIGTERM ends it without leaving anything."""
    notes, begin = _Notes(), perf_counter()
    error, exit_code, trace = "", 0, ""
    try:
        with termination_raised(), StageCache(task.cache, progress=notes) as cache:
            make = build_fastest if task.recipe.engine.target == AUTO_TARGET else build
            make(task.recipe, task.out, work=Work(cache, notes, alone=task.alone), command=task.command)
    except Exception as fault:  # noqa: BLE001 - whatever stops one build becomes its sentence and its code
        error, exit_code = sentence_of_error(fault)
        trace = traceback.format_exc() if exit_code == EXIT_INTERNAL else ""
    return Outcome(
        seconds=perf_counter() - begin, error=error, exit_code=exit_code, trace=trace, notes=tuple(notes.texts)
    )


def needs_quiet(recipe: Recipe) -> bool:
    """Say whether a build decides by times, or shows them as its result, so that none may run beside it."""
    return decides_by_times(recipe) or recipe.early_exit.wanted or recipe.sparsity.pattern is not None


def decides_by_times(recipe: Recipe) -> bool:
    """Say whether what a build makes depends on how fast this machine is."""
    return recipe.engine.target == AUTO_TARGET or recipe.search.enabled
