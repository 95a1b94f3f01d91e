"""A sweep's inputs and what runs its builds in this process, for the tests of sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertc.jobs.sweep import Conditions, sweep
from bertc.jobs.sweep_build import Task
from bertc.recipe import sweep_from_path
from bertc.report.sweep import SweepReport, sweep_from_json

SWEEP = """
[defaults.calibration]
data = "train.tsv"
[defaults.validation]
data = "dev.tsv"
max_drop = "1abs"
any_reference = true
[defaults.engine]
threads = 1
[[checkpoints]]
name = "a"
checkpoint = "a"
[[schemes]]
name = "mode-1"
[[schemes]]
name = "mode-2"
[schemes.quantization]
mode = 2
"""


class Here(Executor):
    """Runs in this process, at once; `lose` names builds whose process is lost, and how often."""

    def __init__(self, lose: dict[str, int]) -> None:
        self.lose = lose
        self.broken = False
        self.tasks: list[Task] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        (task,) = arguments
        if self.broken:
            raise BrokenExecutor
        future: Future[Any] = Future()
        if self.lose.get(task.name, 0):
            self.lose[task.name] -= 1
            self.broken = True
            future.set_exception(BrokenExecutor())
        else:
            self.tasks.append(task)
            future.set_result(function(*arguments, **named))
        return future


@dataclass
class Log:
    """A progress sink that keeps the notes."""

    notes: list[str] = field(default_factory=list)

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, units: int = 1) -> None:
        """Ignore."""

    def end(self) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)


@dataclass
class Place:
    """A folder with a sweep's inputs; each run keeps what was built, by how many workers, and what was said."""

    folder: Path
    out: Path
    built: list[str] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def report(self) -> SweepReport:
        """What stands in OUT."""
        return sweep_from_json((self.out / "sweep.json").read_bytes(), source="sweep.json")

    def run(self, text: str = SWEEP, *, lose: dict[str, int] | None = None, **conditions: Any) -> SweepReport:
        (self.folder / "sweep.toml").write_text(text, encoding="utf-8")
        self.built, self.tasks, self.workers, log = [], [], [], Log()

        @contextmanager
        def opened(workers: int) -> Iterator[Executor]:
            here = Here(lose if lose is not None else {})
            self.workers.append(workers)
            yield here
            self.tasks += here.tasks

        seam: Callable[[int], AbstractContextManager[Executor]] = opened
        wanted = sweep_from_path(self.folder / "sweep.toml")
        report = sweep(wanted, self.out, conditions=Conditions(**conditions), progress=log, opened=seam)
        self.built = [task.name for task in self.tasks]
        self.notes = log.notes
        return report
