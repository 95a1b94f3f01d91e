"""Which products with 2:4 weights skip their zeros: those that are faster so, measured where a plan is written.

Products of one size are measured together, over the weights of several layers one after the other: as in a model, they
come from memory and not from a cache. One thread's own time counts, and dense and sparse weights take turns, so that
what else the machine does disturbs little, and both alike.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.runtime.native.library import multiplies_sparse
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan import packing
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Op, Output, Plan, Rows, Step, Type, padded

Arrays = Mapping[str, NDArray[Any]]
Speedups = Callable[[Sequence[Step], Arrays, Arrays], Sequence[float]]
"""Takes dense and sparse weights; returns for each shape how many times as fast the steps are with the sparse ones."""

SHAPES = {Rows.TOKENS: ((1, 32), (4, 128)), Rows.TEXTS: ((1, 1), (16, 1))}
"""Texts and their tokens: few rows, and as many as two of the chunks that larger batches are cut into."""

LEAST_SPEEDUP = 1.03
"""Of the shapes' geometric mean. Below, it is a tie, which dense weights win."""

NO_SLOWER = 0.99
"""What sparse weights have to reach at every shape: 1, but for what two measurements of the same differ by."""

ROUNDS = 11
SECONDS_EACH = 0.003
"""Of one form in one round, at least."""

MOST_STEPS = 4
"""Of one size that are measured."""

WORDS = 64


def choose_sparse(
    plan: Plan, arrays: Arrays, *, speedups: Speedups | None = None, instruction_set: str | None = None
) -> tuple[Plan, Arrays]:
    """Return the plan with sparse weights where an instruction set (None: the best of this CPU) is faster with them.

    `speedups` measures; None does so on this machine.
    """
    if speedups is None:
        if not multiplies_sparse(instruction_set):
            return plan, arrays
        speedups = partial(measured_speedups, instruction_set=instruction_set)
    alike: dict[tuple[Rows, int, int], list[Step]] = defaultdict(list)
    for step in plan.steps:
        if step.op is Op.GEMM_INT8 and packing.are_sparse(arrays[step.weights]):
            alike[step.rows, step.k, step.n].append(step)
    chosen: dict[str, NDArray[Any]] = {}
    for steps in alike.values():
        sparse = {step.weights: packing.sparse_panels(arrays[step.weights]) for step in steps}
        if are_worth_it(speedups(steps, arrays, sparse)):
            chosen |= sparse
    written = tuple(replace(step, flag=1) if step.weights in chosen else step for step in plan.steps)
    return replace(plan, steps=written), {name: chosen.get(name, array) for name, array in arrays.items()}


def are_worth_it(speedups: Sequence[float]) -> bool:
    """Say whether sparse weights are faster, and slower at no shape.

    >>> are_worth_it([1.3, 1.0]), are_worth_it([1.3, 0.98]), are_worth_it([1.01, 1.02])
    (True, False, False)
    """
    return min(speedups) >= NO_SLOWER and statistics.geometric_mean(speedups) >= LEAST_SPEEDUP


def measured_speedups(
    steps: Sequence[Step], dense: Arrays, sparse: Arrays, *, instruction_set: str | None = None
) -> list[float]:
    """Measure products of one size with dense and with sparse weights at the shapes of their rows."""
    engines = [
        _engine_of(steps[:MOST_STEPS], weights, flag, instruction_set) for flag, weights in enumerate((dense, sparse))
    ]
    found = [_speedup(engines, _batch(*shape)) for shape in SHAPES[steps[0].rows]]
    for engine in engines:
        engine.close()
    return found


def _speedup(engines: Sequence[NativeEngine], batch: Batch) -> float:
    dense, sparse = engines
    calls = max(1, round(SECONDS_EACH / min(_seconds(dense, batch, 1) for _ in range(3))))
    ratios = []
    for number in range(ROUNDS):
        pair = (dense, sparse) if number % 2 else (sparse, dense)
        seconds = {engine: _seconds(engine, batch, calls) for engine in pair}
        ratios.append(seconds[dense] / seconds[sparse])
    return statistics.median(ratios)


def _seconds(engine: NativeEngine, batch: Batch, calls: int) -> float:
    begin = _now()
    for _ in range(calls):
        engine.run(batch, [])
    return _now() - begin


def _now() -> float:
    """Return this thread's own time in seconds; on Windows, which counts that in steps of 15.6 ms, the clock's."""
    return time.perf_counter() if sys.platform == "win32" else time.thread_time()


def _batch(texts: int, length: int) -> Batch:
    types = np.zeros(length, np.int64)
    ids = np.arange(length) % WORDS
    return batch_from_features(
        [Feature(input_ids=ids, token_type_ids=types, row=row) for row in range(texts)], range(texts)
    )


def _engine_of(steps: Sequence[Step], weights: Arrays, flag: int, instruction_set: str | None) -> NativeEngine:
    """Open a plan of random codes and the products alone: what follows them takes the same time for both forms."""
    k, n = steps[0].k, steps[0].n
    generator = np.random.default_rng(0)
    longest = max(length for shapes in SHAPES.values() for _, length in shapes)
    arrays: dict[str, NDArray[Any]] = {
        "word": generator.normal(0, 40, (WORDS, k)).astype(np.float32),
        "position": np.zeros((longest, k), np.float32),
        "one": packing.float_vector(1.0, k),
        "none": packing.float_vector(0.0, n),
        "compensation": np.zeros(padded(n), np.int32),
    }
    buffers = tuple(
        Buffer(type=kind, rows=Rows.TOKENS, width=padded(columns))
        for kind, columns in ((Type.F32, k), (Type.U8, k), (Type.U8, n), (Type.F32, n))
    )
    numbers, codes, products, out = range(len(buffers))

    def step(op: Op, source: int, target: int, n: int, **fields: Any) -> Step:
        inputs = (source, NO_BUFFER, NO_BUFFER)
        return Step(op=op, name="", rows=Rows.TOKENS, inputs=inputs, out=target, n=n, **fields)

    measured = []
    for number, each in enumerate(steps):
        arrays[f"weights {number}"] = weights[each.weights]
        fields = {"k": k, "flag": flag, "weights": f"weights {number}", "compensation": "compensation"}
        measured.append(step(Op.GEMM_INT8, codes, products, n, inverse="none", **fields))
    embed = step(Op.EMBED, NO_BUFFER, numbers, k, vocabulary=WORDS, positions=longest, word="word", position="position")
    plan = Plan(
        steps=(
            embed,
            step(Op.FINISH, numbers, codes, k, k=k, inverse="one", out_zero=128),
            *measured,
            step(Op.FINISH, products, out, n, k=n),
        ),
        buffers=buffers,
        outputs=(Output(name="out", buffer=out, columns=n, per_token=True),),
    )
    return NativeEngine(plan, arrays, threads=1, instruction_set=instruction_set)
