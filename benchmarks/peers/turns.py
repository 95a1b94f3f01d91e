"""Engines in processes of their own that take turns: while one runs, the others wait for a line of text.

A thread pool goes on spinning after a run and takes cores from the next engine, so every turn begins with a pause and
a run that is not timed. The order changes from round to round.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from environments import HERE, environment_variables

PAUSE = 0.1
SECONDS_PER_TURN = 0.1
MOST_REPEATS = 50
Turn = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)


class FailedError(Exception):
    """An engine cannot be built, opened or run; the text says why."""


class Process:
    """An engine's process."""

    def __init__(self, python: Path, wanted: Mapping[str, Any], log: Path) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(python), str(HERE / "worker.py"), json.dumps(wanted)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment_variables(wanted["threads"]),
            )
        self.opened = self._answer()

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a command, wait for the answer. Raises `FailedError` when the process ended."""
        assert self._process.stdin is not None
        try:
            print(json.dumps({"do": do, **what}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise FailedError(last_line(self.log)) from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise FailedError(last_line(self.log))
        answer: dict[str, Any] = json.loads(line)
        return answer


def last_line(log: Path) -> str:
    """Return the last line of what a process said, which is the error in a traceback."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]] or lines
    return errors[-1][:300] if errors else "the process ended without a word"


def interleaved(turns: Mapping[Name, Turn], rounds: int) -> tuple[dict[Name, list[float]], dict[Name, str]]:
    """Take every turn once a round; returns the figures, and why each of those that failed did."""
    figures: dict[Name, list[float]] = {name: [] for name in turns}
    failed: dict[Name, str] = {}
    names = list(turns)
    for number in range(rounds):
        shift = number % max(len(names), 1)
        for name in names[shift:] + names[:shift]:
            if name in failed:
                continue
            time.sleep(PAUSE)
            try:
                figures[name].append(turns[name]())
            except FailedError as error:
                failed[name] = str(error)
    return {name: found for name, found in figures.items() if name not in failed}, failed


def timed_shape(
    processes: Mapping[str, Process], shape: str, rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time a shape: warm every engine first, which also says how many runs fill a turn. Figures are milliseconds."""
    once, failed = interleaved(
        {name: partial(_asked, process, "milliseconds", "warm", shape=shape) for name, process in processes.items()}, 1
    )
    turns = {
        name: partial(_asked, processes[name], "milliseconds", "time", shape=shape, repeats=_repeats(found))
        for name, (found,) in once.items()
    }
    figures, later = interleaved(turns, rounds)
    return figures, failed | later


def _repeats(milliseconds: float) -> int:
    return min(MOST_REPEATS, max(1, int(SECONDS_PER_TURN * 1e3 / milliseconds)))


def timed_stream(
    processes: Mapping[str, Process], text: str, batch: int, orders: Sequence[str], rounds: int, warm: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Time a text in every order, all in the same rounds: a part of it first, to be warm, then the whole once a round.

    Returns order -> name -> seconds. An engine that fails in one order has no figures in any.
    """

    def turns(names: Collection[str], **options: int) -> dict[tuple[str, str], Turn]:
        return {
            (order, name): partial(_asked, process, "seconds", "stream", text=text, batch=batch, order=order, **options)
            for order in orders
            for name, process in processes.items()
            if name in names
        }

    _, failed = interleaved(turns(processes, limit=warm), 1)
    broken = {name: why for (_, name), why in failed.items()}
    found, failed = interleaved(turns(set(processes) - set(broken)), rounds)
    broken |= {name: why for (_, name), why in failed.items()}
    figures: dict[str, dict[str, list[float]]] = {order: {} for order in orders}
    for (order, name), seconds in found.items():
        if name not in broken:
            figures[order][name] = seconds
    return figures, broken


def _asked(process: Process, figure: str, do: str, **what: Any) -> float:
    """Send a command; return one figure of the answer."""
    found: float = process.ask(do, **what)[figure]
    return found


def shapes_text(shapes: Sequence[tuple[int, int]]) -> list[str]:
    """Write shapes as BATCHxLENGTH."""
    return [f"{batch}x{length}" for batch, length in shapes]
