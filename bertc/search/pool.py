"""Engines run over the held-out text in processes of their own, one thread each: the same numbers from any number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.processes import obey_parent
from bertc.errors import EnvironmentLackError
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.outputs_file import Outputs
from bertc.targets import TargetModel, target_from_name

Run = Callable[[TargetModel], Callable[[], Outputs]]
"""Begins to run a model; what comes back waits for its outputs."""


def outputs_from_model(target: str, path: Path, features: Sequence[Feature], head: Head) -> Outputs:
    """Open a model file, run all features on one thread, and close it."""
    with TargetModel(target=target_from_name(target), path=path).opened(threads=1) as engine:
        return outputs_from_features(engine, features, head)


@contextmanager
def open_pool(workers: int, features: Sequence[Feature], head: Head) -> Iterator[Run]:
    """Give a function that runs model files in `workers` processes; 1 is this process itself, when it is asked."""
    if workers == 1:
        yield lambda model: lambda: outputs_from_model(model.target.name, model.path, features, head)
        return
    # spawn: a fork would copy the threads' locks of onnxruntime and of the progress bar without their threads.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=obey_parent)

    def run(model: TargetModel) -> Callable[[], Outputs]:
        # A target's name travels, since its functions cannot be pickled.
        future = pool.submit(outputs_from_model, model.target.name, model.path, features, head)
        return lambda: _result(future)

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Outputs]) -> Outputs:
    try:
        return future.result()
    except BrokenProcessPool:
        raise EnvironmentLackError(
            "a process of the search ended by itself, perhaps for lack of memory; use fewer (--search-workers 1)"
        ) from None
