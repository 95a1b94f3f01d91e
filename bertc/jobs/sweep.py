"""Many builds into one folder with one page: every checkpoint with every scheme, in processes of their own.

In: the builds, and the folder of an earlier run or none. Out: a row of figures for every build. A build that is there,
whole and of the same recipe and inputs, is kept; one that cannot be made is a row with the reason, and the others go
on. Builds that run side by side are not timed: all engines are, in turn, when the last one is built.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bertc.artefact.layout import MANIFEST_FILE
from bertc.core.digest import digest_of_file
from bertc.core.number_text import figure
from bertc.core.processes import open_processes
from bertc.core.progress import Progress
from bertc.core.signals import Terminated
from bertc.core.versions import __version__, library_versions
from bertc.errors import EXIT_ENVIRONMENT
from bertc.jobs.inspect import report_of_artefact
from bertc.jobs.sweep_build import Outcome, Task, build_task, needs_quiet
from bertc.jobs.sweep_folder import BUILDS, SweepFolder, keys_of_builds, locked_folder
from bertc.jobs.sweep_speed import speeds_of_engines
from bertc.recipe import Recipe, Sweep, SweepBuild
from bertc.report.html.figures import duration
from bertc.report.html.verdict import outcome
from bertc.report.schema import Report
from bertc.report.sweep import WORDS, State, SweepReport, SweepRow
from bertc.report.text import search_failure
from bertc.runtime.machine.cpu import cpu_features, threads_of_each

Opened = Callable[[int], AbstractContextManager[Executor]]

LOST = "its process ended by itself, perhaps for lack of memory; use a machine with more, or fewer rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How a sweep is run: builds side by side, whether what is there is built again, and the cache's folder.

    `source` is the sweep's file and `command` the command line, for the reports.
    """

    workers: int = 1
    force: bool = False
    cache: Path | None = None
    source: str = ""
    command: str = ""


def sweep(
    wanted: Sweep, out: Path, *, conditions: Conditions, progress: Progress, opened: Opened = open_processes
) -> SweepReport:
    """Build all that a sweep wants into the folder `out`; `opened` gives an executor of so many workers.

    Raises `InputError` if something else lies there. What one build raises is in its row.
    """
    with locked_folder(out) as folder:
        run = _Run(wanted.builds, folder, conditions, progress)
        run.begin()
        todo = [build for build in wanted.builds if run.rows[build.name].state == "waiting"]
        side_by_side = [build for build in todo if conditions.workers > 1 and not needs_quiet(build.recipe)]
        progress.stage("builds", total=len(todo))
        lost = run.build(side_by_side, conditions.workers, opened)
        alone = [build for build in todo if build in lost or build not in side_by_side]
        for build in run.build(alone, 1, opened):
            run.end(build, Outcome(error=LOST, exit_code=EXIT_ENVIRONMENT))
        run.time([build.name for build in todo])
        return run.report()


class _Run:
    """Lives for one call of `sweep`. `rows` has the row of every build by name, and changes as they end."""

    def __init__(
        self, builds: Sequence[SweepBuild], folder: SweepFolder, conditions: Conditions, progress: Progress
    ) -> None:
        self.builds = builds
        self.folder = folder
        self.conditions = conditions
        self.progress = progress
        self.rows: dict[str, SweepRow] = {}
        self._begin = perf_counter()
        self._todo = 0
        self._done = 0

    def begin(self) -> None:
        """Find what an earlier run built and still holds; the rest waits. From here on the folder is a sweep's."""
        self.progress.stage("read")
        before = {} if self.conditions.force else {row.name: row for row in self.folder.rows(cpu_features().model)}
        for build, key in zip(self.builds, keys_of_builds(self.builds), strict=True):
            row = before.get(build.name)
            if row is not None and row.built and key and row.key == key and self.folder.holds(row):
                self.rows[build.name] = row
                self.progress.note(f"{build.name}: unchanged, {_verdict(row)}")
            else:
                self.rows[build.name] = _row_of_recipe(build, key)
                self._todo += 1
        for name in self.folder.strangers(self.builds):
            self.progress.note(f"{name} is of no build of this sweep; it stays, and is not on the page")
        self.folder.save(self.report())

    def build(self, builds: Sequence[SweepBuild], workers: int, opened: Opened) -> list[SweepBuild]:
        """Build with so many workers; return those that were in work when a worker was lost."""
        left, lost = deque(builds), list[SweepBuild]()
        while left:
            with opened(workers) as executor:
                for build, outcome_or_none in self._outcomes(left, workers, executor):
                    if outcome_or_none is None:
                        lost.append(build)
                    else:
                        self.end(build, outcome_or_none)
        return lost

    def _outcomes(
        self, left: deque[SweepBuild], workers: int, executor: Executor
    ) -> Iterator[tuple[SweepBuild, Outcome | None]]:
        """Give builds as they end, None for one whose worker was lost: then what is `left` needs another executor."""
        running: dict[Future[Outcome], SweepBuild] = {}
        broken = False
        while running or (left and not broken):
            while left and len(running) < workers and not broken:
                build = left.popleft()
                try:
                    running[executor.submit(build_task, self._task(build, workers))] = build
                except BrokenExecutor:
                    broken = True
                    yield build, None
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                build, fault = running.pop(future), future.exception()
                broken |= isinstance(fault, BrokenExecutor)
                yield build, None if isinstance(fault, BrokenExecutor | Terminated) else future.result()

    def _task(self, build: SweepBuild, workers: int) -> Task:
        return Task(
            name=build.name,
            recipe=recipe_for_workers(build.recipe, workers),
            out=self.folder.artefact(build),
            cache=self.conditions.cache,
            command=self.conditions.command,
            alone=workers == 1,
        )

    def end(self, build: SweepBuild, outcome: Outcome) -> None:
        """Take in how a build ended, and say so."""
        waiting = self.rows[build.name]
        for text in outcome.notes:
            self.progress.note(f"{build.name}: {text}")
        if outcome.error:
            row = waiting.model_copy(update={"state": "error", "reason": outcome.error, "exit_code": outcome.exit_code})
            self.folder.keep_failure(row, outcome.trace)
            if self.folder.artefact(build).exists():
                self.progress.note(f"{BUILDS}/{build.name} is of an earlier run; it stays, and is not on the page")
        else:
            row = _row_of_artefact(waiting, self.folder.artefact(build), outcome.seconds)
            self.folder.forget_failure(row)
        self.rows[build.name] = row
        self._done += 1
        self.progress.advance()
        self.progress.note(f"[{self._done}/{self._todo}] {build.name}: {_verdict(row)}{self._left()}")
        self.folder.save(self.report())

    def _left(self) -> str:
        """Say how long the rest takes, if it goes on so."""
        rest = self._todo - self._done
        seconds = (perf_counter() - self._begin) / self._done * rest
        return f"; about {duration(seconds)} left" if rest else ""

    def time(self, fresh: Sequence[str]) -> None:
        """Time the engines, where one of them is new or has no times."""
        recipes = {build.name: build.recipe for build in self.builds}
        built = {name: row for name, row in self.rows.items() if row.built}
        engines = {name: (self.folder.artefact(row), recipes[name]) for name, row in built.items()}
        stale = [name for name, row in built.items() if name in fresh or not row.latency]
        if not stale:
            return
        with self.folder.scratch() as scratch:
            for measured in speeds_of_engines(engines, stale, scratch, progress=self.progress):
                for name, latency in measured.items():
                    self.rows[name] = self.rows[name].model_copy(update={"latency": latency})
        self.folder.save(self.report())

    def report(self) -> SweepReport:
        """Return all rows as they are now."""
        return SweepReport(
            bertc=__version__,
            sweep=self.conditions.source,
            cpu=cpu_features().model,
            versions=library_versions(),
            builds=tuple(self.rows[build.name] for build in self.builds),
        )


def recipe_for_workers(recipe: Recipe, workers: int) -> Recipe:
    """Share all cores between builds that run side by side; a number of threads that the recipe names stays."""
    if workers == 1 or recipe.engine.threads:
        return recipe
    threads = threads_of_each(workers, recipe.engine.threads)
    return recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"threads": threads})})


def _row_of_recipe(build: SweepBuild, key: str) -> SweepRow:
    return SweepRow(checkpoint=build.checkpoint, scheme=build.scheme, target=build.recipe.engine.target, key=key)


def _row_of_artefact(waiting: SweepRow, folder: Path, seconds: float) -> SweepRow:
    """Return the figures of an artefact, as its report has them."""
    report = report_of_artefact(folder)
    limits = [gate.drop_limit for gate in report.gates if report.accuracy and gate.metric == report.accuracy.metric]
    state, reason = _state(report)
    return SweepRow(
        checkpoint=waiting.checkpoint,
        scheme=waiting.scheme,
        state=state,
        target=report.engine.target,
        mode=report.quantization.mode,
        granularity=report.quantization.granularity,
        accuracy=report.accuracy,
        drop_limit=min((limit for limit in limits if limit is not None), default=None),
        bytes=report.engine.bytes,
        reference_bytes=report.engine.reference_bytes,
        reason=reason,
        artefact=f"{BUILDS}/{waiting.name}",
        manifest=digest_of_file(folder / MANIFEST_FILE),
        key=waiting.key,
        seconds=seconds,
    )


def _state(report: Report) -> tuple[State, str]:
    """Return the verdict, which a search that found nothing fails, and why it is no pass."""
    if said := search_failure(report):
        return "fail", said
    return outcome(report), "; ".join(gate.reason for gate in report.gates if gate.verdict != "pass")


def _verdict(row: SweepRow) -> str:
    """Say how a build ended, in a few words."""
    said = WORDS[row.state]
    if row.state == "error":
        return f"{said}: {row.reason}"
    drop = None if row.accuracy is None else row.accuracy.drop
    return said if drop is None else f"{said}, drop {figure(drop, sign=True)}"
