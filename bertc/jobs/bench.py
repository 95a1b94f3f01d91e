"""Time the engines of artefacts side by side. In: folders, and shapes or a file of texts. Out: figures of each.

A work is a batch of one shape, or a file's texts with their real lengths, in batches as they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bertc.checkpoint.config_json import config_from_path
from bertc.core.batch import Batch
from bertc.core.feature import Feature
from bertc.core.outputs import output_names
from bertc.core.progress import Progress
from bertc.data.dataset import dataset_from_path
from bertc.errors import InputError
from bertc.jobs.predict import Predictor, predictor_from_path
from bertc.runtime.latency import Call, full_batch, repeated, time_calls
from bertc.runtime.machine.cpu import pinned
from bertc.tasks import checked_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A file whose texts are timed: a seeded sample of `limit` rows, in the file's order, `batch` at a time."""

    path: Path
    columns: dict[str, str]
    batch: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One artefact at one work.

    `p50`, `p95` and `p99` are milliseconds of a call, over all calls of all rounds; a call is one batch. `rounds` are
    the milliseconds per call of each, `spread` is half the width of their middle half as a part of their median.
    `texts_per_second` is the median round's. `ratio` is how many times as fast as the first artefact it is, the median
    over rounds of the ratio within a round, `ratio_range` the least and the largest. `length` is None for texts, of
    which there are `texts` in a round.
    """

    artefact: str
    work: str
    batch: int
    length: int | None
    texts: int
    p50: float
    p95: float
    p99: float
    texts_per_second: float
    ratio: float
    ratio_range: tuple[float, float]
    spread: float
    rounds: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What every artefact does once a round; `calls` by artefact."""

    name: str
    batch: int
    length: int | None
    calls: dict[str, list[Call]]
    texts: dict[str, int]


def bench(
    folders: Sequence[Path],
    *,
    shapes: Sequence[tuple[int, int]],
    texts: Texts | None = None,
    rounds: int,
    threads: int,
    progress: Progress,
) -> tuple[Timing, ...]:
    """Time artefacts in turn, round by round; with `threads` the process stays on so many cores.

    Raises `InputError` for a shape longer than one of them can take, and for texts that are not of an artefact's task.
    """
    with pinned(threads), ExitStack() as opened:
        progress.stage("open", total=len(folders))
        predictors = {}
        for folder in folders:
            predictors[str(folder)] = opened.enter_context(predictor_from_path(folder, threads=threads))
            progress.advance()
        positions = min(predictor.encoder.positions for predictor in predictors.values())
        for _, length in shapes:
            if length > positions:
                raise InputError(f"a length of {length} is more than the {positions} tokens of these engines")
        encoded = {} if texts is None else {name: _encoded(predictor, texts) for name, predictor in predictors.items()}
        timings: list[Timing] = []
        progress.stage("latency", total=len(shapes) + (texts is not None))
        for work in _works(predictors, shapes, texts, encoded):
            timings += _timed(work, rounds)
            progress.advance()
        return tuple(timings)


def _works(
    predictors: dict[str, Predictor],
    shapes: Sequence[tuple[int, int]],
    texts: Texts | None,
    encoded: dict[str, list[Feature]],
) -> Iterator[_Work]:
    vocabulary = min(int(config_from_path(predictor.folder)["vocab_size"]) for predictor in predictors.values())
    for batch, length in shapes:
        full = full_batch(batch, length, vocabulary)
        calls = {name: repeated(partial(_run, predictor, full)) for name, predictor in predictors.items()}
        number = {name: batch * len(runs) for name, runs in calls.items()}
        yield _Work(name=f"{batch}x{length}", batch=batch, length=length, calls=calls, texts=number)
    if texts is not None:
        step = texts.batch
        parts = {
            name: [features[start : start + step] for start in range(0, len(features), step)]
            for name, features in encoded.items()
        }
        calls = {
            name: [partial(predictors[name].run_features, part) for part in batches] for name, batches in parts.items()
        }
        for runs in calls.values():
            for call in runs:  # an engine may prepare itself for each new length
                call()
        number = {name: len({feature.row for feature in features}) for name, features in encoded.items()}
        yield _Work(name=texts.path.name, batch=step, length=None, calls=calls, texts=number)


def _run(predictor: Predictor, batch: Batch) -> object:
    """Run an engine for its own task's outputs, so that tasks can stand side by side."""
    return predictor.run_batch(batch, output_names(predictor.task.outputs(predictor.head)))


def _encoded(predictor: Predictor, texts: Texts) -> list[Feature]:
    """Read the file as an artefact's task does, without labels."""
    dataset = dataset_from_path(texts.path, layout=predictor.task.layout, columns=texts.columns, limit=texts.limit)
    bare = [replace(row, label=None, tags=None, answers=()) for row in dataset.rows]
    return predictor.features_from_rows(checked_rows(predictor.task, bare, predictor.head, predictor.encoder))


def _timed(work: _Work, rounds: int) -> Iterator[Timing]:
    seconds_of_turns = time_calls(work.calls, rounds)
    whole = {name: [sum(turn) / work.texts[name] for turn in turns] for name, turns in seconds_of_turns.items()}
    first = next(iter(whole.values()))
    for name, turns in seconds_of_turns.items():
        ratios = [before / after for before, after in zip(first, whole[name], strict=True)]
        per_call = [1e3 * sum(turn) / len(turn) for turn in turns]
        low, high = np.percentile(per_call, (25, 75))
        p50, p95, p99 = np.percentile([1e3 * seconds for turn in turns for seconds in turn], (50, 95, 99))
        yield Timing(
            artefact=name,
            work=work.name,
            batch=work.batch,
            length=work.length,
            texts=work.texts[name],
            p50=float(p50),
            p95=float(p95),
            p99=float(p99),
            texts_per_second=1 / median(whole[name]),
            ratio=median(ratios),
            ratio_range=(min(ratios), max(ratios)),
            spread=float(high - low) / 2 / median(per_call),
            rounds=tuple(per_call),
        )
