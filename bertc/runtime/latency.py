"""Latency of engines side by side: interleaved rounds, medians."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from bertc.core.batch import Batch
from bertc.runtime.engine import Engine

SHAPES = ((1, 32), (1, 128), (8, 128))
ROUNDS = 5
SECONDS_BETWEEN = 0.05
SECONDS_PER_ROUND = 0.03
"""A round repeats a short run until it has taken about this long, so that the clock's grain does not matter."""

Call = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Median milliseconds of one batch per engine, and each round's (the mean of the runs in it)."""

    batch: int
    length: int
    milliseconds: Mapping[str, float]
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One's part of a round: the seconds of each call, and of all of them together, which callers share."""

    calls: tuple[float, ...]
    seconds: float


def time_calls(calls: Mapping[str, Sequence[Call]], rounds: int) -> Mapping[str, tuple[tuple[float, ...], ...]]:
    """Make everybody's calls in turn, round by round; returns for each name and round the seconds of each call."""
    turns = time_turns(calls, rounds)
    return {name: tuple(turn.calls for turn in own) for name, own in turns.items()}


def time_turns(
    calls: Mapping[str, Sequence[Call]], rounds: int, callers: Mapping[str, int] | None = None
) -> Mapping[str, tuple[Turn, ...]]:
    """Make everybody's calls in turn, round by round; who has several `callers` has a thread for each.

    Callers share the calls, each as many as the other. Every turn begins with a pause (the threads of the engine before
    still spin for a while, and take cores from this one) and with one call that is not timed.
    """
    found: dict[str, list[Turn]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, own in calls.items():
            time.sleep(SECONDS_BETWEEN)
            own[0]()
            number = 1 if callers is None else callers[name]
            found[name].append(_turn_of_one(own) if number == 1 else _turn_of_several(own, number))
    return {name: tuple(turns) for name, turns in found.items()}


def _turn_of_one(calls: Sequence[Call]) -> Turn:
    return _turn([_marks(calls)])


def _turn_of_several(calls: Sequence[Call], callers: int) -> Turn:
    """Let callers begin together; the calls are dealt out to them in turn."""
    together = threading.Barrier(callers)

    def caller(first: int) -> list[float]:
        together.wait()
        return _marks(calls[first::callers])

    with ThreadPoolExecutor(callers) as pool:
        return _turn(list(pool.map(caller, range(callers))))


def _marks(calls: Sequence[Call]) -> list[float]:
    """Make calls one after the other; returns the times before, between and after."""
    marks = [time.perf_counter()]
    for call in calls:
        call()
        marks.append(time.perf_counter())
    return marks


def _turn(marks: Sequence[Sequence[float]]) -> Turn:
    return Turn(
        calls=tuple(after - before for own in marks for before, after in pairwise(own)),
        seconds=max(own[-1] for own in marks) - min(own[0] for own in marks),
    )


def full_batch(batch: int, length: int, vocabulary: int) -> Batch:
    """Return a batch of seeded random token ids without padding, and without padding's id 0."""
    ids = np.random.default_rng(0).integers(1, vocabulary, (batch, length), dtype=np.int64)
    return Batch(
        input_ids=ids,
        token_type_ids=np.zeros_like(ids),
        mask=np.ones_like(ids),
        order=tuple(range(batch)),
    )


def measure_latency(
    engines: Mapping[str, Engine],
    outputs: Sequence[str],
    *,
    vocabulary: int,
    positions: int,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    rounds: int = ROUNDS,
) -> tuple[Latency, ...]:
    """Time engines in turn, round by round, after one warm-up run; shapes longer than `positions` are left out."""
    results = []
    for batch_size, length in shapes:
        if length > positions:
            continue
        batch = full_batch(batch_size, length, vocabulary)
        calls = {name: repeated(partial(engine.run, batch, outputs)) for name, engine in engines.items()}
        seconds = time_calls(calls, rounds)
        times = {name: tuple(1e3 * fmean(turn) for turn in turns) for name, turns in seconds.items()}
        medians = {name: median(found) for name, found in times.items()}
        results.append(Latency(batch=batch_size, length=length, milliseconds=medians, rounds=times))
    return tuple(results)


def repeated(call: Call) -> list[Call]:
    """Warm up, and return the call so many times as fill a turn."""
    call()
    begin = time.perf_counter()
    call()
    return [call] * max(1, int(SECONDS_PER_ROUND / max(time.perf_counter() - begin, 1e-6)))
