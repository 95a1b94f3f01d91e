"""Latency of engines side by side: interleaved rounds, medians."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from bertc.batches import Batch
from bertc.runtime.engine import Engine

SHAPES = ((1, 32), (1, 128), (8, 128))
ROUNDS = 5
SECONDS_BETWEEN = 0.05
SECONDS_PER_ROUND = 0.03
"""A round repeats a short run until it has taken about this long, so that the clock's grain does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Median milliseconds of one batch per engine, and each round's (the mean of the runs in it)."""

    batch: int
    length: int
    milliseconds: Mapping[str, float]
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def full_batch(batch: int, length: int, vocabulary: int) -> Batch:
    """Return a batch of seeded random token ids without padding."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (batch, length), dtype=np.int64)
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
        repeats = {name: _repeats(engine, batch, outputs) for name, engine in engines.items()}
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(rounds):
            for name, engine in engines.items():
                # The threads of the engine before still spin for a while, and take cores from this one.
                time.sleep(SECONDS_BETWEEN)
                engine.run(batch, outputs)
                begin = time.perf_counter()
                for _ in range(repeats[name]):
                    engine.run(batch, outputs)
                times[name].append((time.perf_counter() - begin) / repeats[name] * 1e3)
        medians = {name: median(found) for name, found in times.items()}
        kept = {name: tuple(found) for name, found in times.items()}
        results.append(Latency(batch=batch_size, length=length, milliseconds=medians, rounds=kept))
    return tuple(results)


def _repeats(engine: Engine, batch: Batch, outputs: Sequence[str]) -> int:
    """Warm up, and return how many runs fill a round."""
    engine.run(batch, outputs)
    begin = time.perf_counter()
    engine.run(batch, outputs)
    return max(1, int(SECONDS_PER_ROUND / max(time.perf_counter() - begin, 1e-6)))
