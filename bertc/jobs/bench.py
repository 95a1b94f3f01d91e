"""Time the engines of artefacts side by side. In: folders, and shapes or a file of texts. Out: figures of each.

A work is a batch of one shape, or a file's texts with their real lengths, in batches as they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from bertc.core.batch import Batch
from bertc.core.feature import Feature
from bertc.core.outputs import output_names
from bertc.core.progress import Progress
from bertc.data.dataset import dataset_from_path
from bertc.errors import InputError
from bertc.jobs.predict import Predictor, predictor_from_path
from bertc.runtime.latency import Call, full_batch, repeated, time_turns
from bertc.runtime.machine.cpu import pinned
from bertc.tasks import unanswered_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A file whose texts are timed: a seeded sample of `limit` rows, in the file's order, `batch` at a time."""

    path: Path
    columns: dict[str, str]
    batch: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How engines are timed: rounds, threads and cores (0: all), and how many call at once besides one alone."""

    rounds: int
    threads: int
    callers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One artefact at one work.

    `callers` of it call at once, each in a thread, on one session of one thread; a single caller has a session of as
    many threads as were asked for. `p50`, `p95` and `p99` are milliseconds of a call, over all calls of all rounds; a
    call is one batch. `rounds` are the milliseconds per call of each, `spread` is half the width of their middle half
    as a part of their median. `texts_per_second` is the median round's. `ratio` is how many times as fast as the first
    artefact it is, the median over rounds of the ratio within a round, `ratio_range` the least and the largest.
    `length` is None for texts, of which there are `texts` in a round.
    """

    artefact: str
    callers: int
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
class _Contender:
    """Who is timed: an artefact, opened for so many callers."""

    artefact: str
    callers: int
    predictor: Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What everybody does once a round; `calls` and `texts` by contender's name."""

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
    conditions: Conditions,
    progress: Progress,
) -> tuple[Timing, ...]:
    """Time artefacts in turn, round by round; with a number of threads the process stays on so many cores.

    With several callers each artefact is timed twice: with one caller and all threads, and with one session of one
    thread that so many threads call. Raises `InputError` for a shape longer than one of them can take, for texts that
    are not of an artefact's task, and for fewer calls than callers.
    """
    threads, callers = conditions.threads, conditions.callers
    with pinned(threads), ExitStack() as opened:
        numbers = (1,) if callers == 1 else (1, callers)
        progress.stage("open", total=len(folders) * len(numbers))
        contenders = {}
        for folder in folders:
            for number in numbers:
                predictor = predictor_from_path(folder, threads=threads if number == 1 else 1)
                opened.enter_context(predictor)
                contenders[f"{folder}, {number}"] = _Contender(
                    artefact=str(folder), callers=number, predictor=predictor
                )
                progress.advance()
        positions = min(contender.predictor.encoder.positions for contender in contenders.values())
        for _, length in shapes:
            if length > positions:
                raise InputError(f"a length of {length} is more than the {positions} tokens of these engines")
        timings: list[Timing] = []
        progress.stage("latency", total=len(shapes) + (texts is not None))
        for work in _works(contenders, shapes, texts):
            timings += _timed(work, contenders, conditions.rounds)
            progress.advance()
        return tuple(timings)


def _works(
    contenders: Mapping[str, _Contender], shapes: Sequence[tuple[int, int]], texts: Texts | None
) -> Iterator[_Work]:
    encoded = {} if texts is None else {name: _encoded(each.predictor, texts) for name, each in contenders.items()}
    vocabulary = min(int(each.predictor.config["vocab_size"]) for each in contenders.values())
    for batch, length in shapes:
        full = full_batch(batch, length, vocabulary)
        calls = {
            name: repeated(partial(_run, each.predictor, full)) * each.callers for name, each in contenders.items()
        }
        number = {name: batch * len(runs) for name, runs in calls.items()}
        yield _Work(name=f"{batch}x{length}", batch=batch, length=length, calls=calls, texts=number)
    if texts is not None:
        yield _work_of_texts(contenders, texts, encoded)


def _work_of_texts(contenders: Mapping[str, _Contender], texts: Texts, encoded: Mapping[str, list[Feature]]) -> _Work:
    step = texts.batch
    calls: dict[str, list[Call]] = {}
    for name, each in contenders.items():
        features = encoded[name]
        parts = [features[start : start + step] for start in range(0, len(features), step)]
        if len(parts) < each.callers:
            raise InputError(
                f"{texts.path} makes {len(parts)} calls of {step} texts, fewer than {each.callers} callers; choose a "
                "smaller --batch or a larger --limit"
            )
        calls[name] = [partial(each.predictor.run_features, part) for part in parts]
    for runs in calls.values():
        for call in runs:  # an engine may prepare itself for each new length
            call()
    number = {name: len({feature.row for feature in features}) for name, features in encoded.items()}
    return _Work(name=texts.path.name, batch=step, length=None, calls=calls, texts=number)


def _run(predictor: Predictor, batch: Batch) -> object:
    """Run an engine for its own task's outputs, so that tasks can stand side by side."""
    return predictor.run_batch(batch, output_names(predictor.task.outputs(predictor.head)))


def _encoded(predictor: Predictor, texts: Texts) -> list[Feature]:
    """Read the file as an artefact's task does, without labels."""
    layout = replace(predictor.task.layout, whole_groups=False)  # of a query's rows any may be timed
    dataset = dataset_from_path(texts.path, layout=layout, columns=texts.columns, limit=texts.limit)
    rows = unanswered_rows(predictor.task, dataset.rows, predictor.head, predictor.encoder)
    return predictor.features_from_rows(rows)


def _timed(work: _Work, contenders: Mapping[str, _Contender], rounds: int) -> Iterator[Timing]:
    turns_of = time_turns(work.calls, rounds, {name: each.callers for name, each in contenders.items()})
    whole = {name: [turn.seconds / work.texts[name] for turn in turns] for name, turns in turns_of.items()}
    first = next(iter(whole.values()))
    for name, turns in turns_of.items():
        ratios = [before / after for before, after in zip(first, whole[name], strict=True)]
        per_call = [1e3 * fmean(turn.calls) for turn in turns]
        low, high = np.percentile(per_call, (25, 75))
        p50, p95, p99 = np.percentile([1e3 * seconds for turn in turns for seconds in turn.calls], (50, 95, 99))
        yield Timing(
            artefact=contenders[name].artefact,
            callers=contenders[name].callers,
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
