"""An engine that workers have open, each for itself: batches go out to them and come back as from one engine.

An engine is never sent. Its files are named, and each worker opens them once; what a runtime maps into memory, all of
them share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bertc.core.batch import Batch
from bertc.core.workers import Begun, Workers, kept_open
from bertc.errors import InputError
from bertc.runtime.engine import Array, Closing, Engine
from bertc.runtime.fork_guard import CLOSED
from bertc.runtime.machine.cpu import threads_of_each
from bertc.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFile:
    """What a worker needs to open an engine: the runtime, the file that it opens, and the number of threads."""

    runtime: Runtime
    path: Path
    threads: int

    def opened(self) -> Engine:
        """Open the engine in this process."""
        return self.runtime.engine_from_path(self.path, threads=self.threads)


def ready_to_run() -> None:
    """Load this module and what it imports, in a worker; an engine's own library is loaded with the engine."""


class SharedEngine(Closing):
    """A model file's engine in every worker; `threads` 0 gives each worker's its share of the cores."""

    def __init__(self, runtime: Runtime, path: Path, *, threads: int, workers: Workers) -> None:
        threads = threads_of_each(workers.count, threads or workers.threads)
        self._file = EngineFile(runtime=runtime, path=path, threads=threads)
        self._workers = workers
        self._closed = False

    def begin(self, batch: Batch, outputs: Sequence[str]) -> Begun[list[Array]]:
        """Hand a batch to the workers. Raises `InputError` once it is closed."""
        if self._closed:
            raise InputError(CLOSED)
        return self._workers.begin(_run_batch, self._file, batch, tuple(outputs))

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch, from one of the workers."""
        return self.begin(batch, outputs).result()

    def close(self) -> None:
        """Begin nothing more; a worker closes its engine when it opens others, and when it ends."""
        self._closed = True


def opened_engine(
    runtime: Runtime, path: Path, *, threads: int, cache: Path | None = None, workers: Workers | None = None
) -> Engine:
    """Open an engine in this process, or in the workers where there are several. Raises what the runtime raises."""
    if workers is None or workers.alone:
        return runtime.engine_from_path(path, threads=threads, cache=cache)
    return SharedEngine(runtime, path, threads=threads, workers=workers)


def _run_batch(file: EngineFile, batch: Batch, outputs: Sequence[str]) -> list[Array]:
    """Run a batch in a worker."""
    return kept_open(EngineFile.opened, file).run(batch, outputs)
