"""Engines run over the held-out text in processes of their own, one thread each: the same numbers from any number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.workers import Workers
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.machine.cpu import usable_cores
from bertc.runtime.outputs_file import Outputs
from bertc.targets import TargetModel, target_from_name

Run = Callable[[TargetModel], Callable[[], Outputs]]
"""Begins to run a model; what comes back waits for its outputs."""


def outputs_from_model(target: str, path: Path, features: Sequence[Feature], head: Head) -> Outputs:
    """Open a model file, run all features on one thread, and close it."""
    with TargetModel(target=target_from_name(target), path=path).opened(threads=1) as engine:
        return outputs_from_features(engine, features, head)


def run_in(workers: Workers, features: Sequence[Feature], head: Head) -> Run:
    """Return what runs model files in workers; one worker is this process itself, when it is asked."""

    def run(model: TargetModel) -> Callable[[], Outputs]:
        # A target's name travels, since its functions cannot be pickled.
        return workers.begin(outputs_from_model, model.target.name, model.path, features, head).result

    return run


def searching_workers(number: int, workers: Workers) -> AbstractContextManager[Workers]:
    """Give so many workers (0: those of the whole job, or else one per core)."""
    if number == 0 and not workers.alone:
        return nullcontext(workers)
    return Workers(number or usable_cores())
