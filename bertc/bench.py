"""Time the engines of artefacts side by side. In: folders and shapes. Out: a row of figures per shape and artefact."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.batches import Batch
from bertc.checkpoint.config import config_from_path
from bertc.errors import InputError
from bertc.features import Progress
from bertc.graph.build import OUTPUTS
from bertc.predictor import Predictor, predictor_from_path
from bertc.runtime.latency import measure_latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One artefact at one shape. Milliseconds per batch: median and 95th percentile over the rounds; texts per second.

    `ratio` is how many times as fast as the first artefact it is.
    """

    artefact: str
    batch: int
    length: int
    p50: float
    p95: float
    texts_per_second: float
    ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self)


class _Own:
    """An engine that gives its own task's outputs whatever it is asked for, so that tasks can stand side by side."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._names = OUTPUTS[predictor.head.task]

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Run the engine on a batch."""
        return self._predictor.run_batch(batch, self._names)

    def close(self) -> None:
        """Nothing: the predictor is closed by who opened it."""


def bench(
    folders: Sequence[Path], *, shapes: Sequence[tuple[int, int]], rounds: int, threads: int, progress: Progress
) -> tuple[Timing, ...]:
    """Time artefacts in turn, round by round. Raises `InputError` for a shape longer than one of them can take."""
    with ExitStack() as opened:
        progress.stage("open", total=len(folders))
        predictors = [opened.enter_context(predictor_from_path(folder, threads=threads)) for folder in folders]
        sizes = [config_from_path(folder) for folder in folders]
        positions = min(predictor.encoder.positions for predictor in predictors)
        for _, length in shapes:
            if length > positions:
                raise InputError(f"a length of {length} is more than the {positions} tokens of these engines")
        names = [str(folder) for folder in folders]
        timings: list[Timing] = []
        progress.stage("latency", total=len(shapes))
        for shape in shapes:
            (found,) = measure_latency(
                dict(zip(names, map(_Own, predictors), strict=True)),
                (),
                vocabulary=min(int(size["vocab_size"]) for size in sizes),
                positions=positions,
                shapes=[shape],
                rounds=rounds,
            )
            progress.advance()
            first = found.milliseconds[names[0]]
            for name in names:
                middle = found.milliseconds[name]
                timings.append(
                    Timing(
                        artefact=name,
                        batch=shape[0],
                        length=shape[1],
                        p50=middle,
                        p95=float(np.percentile(found.rounds[name], 95)),
                        texts_per_second=1000 * shape[0] / middle,
                        ratio=first / middle,
                    )
                )
        return tuple(timings)
