"""Finished stages of a build: timed, kept in the cache, and taken from it when their inputs did not change."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bertc.artefact.cache import StageCache, key_from_parts
from bertc.errors import BertcError
from bertc.features import Progress

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """Wall seconds of one stage, whether the cache gave it, and the process's peak memory so far in MiB."""

    name: str
    seconds: float
    cached: bool
    peak_rss_mib: float


class Stages:
    """Runs the stages of one build and remembers their times."""

    def __init__(self, cache: StageCache, progress: Progress) -> None:
        self.cache = cache
        self._progress = progress
        self.times: list[StageTime] = []

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a stage that is not kept."""
        begin = time.perf_counter()
        yield
        self._record(name, begin, cached=False)

    def kept(
        self,
        name: str,
        parts: Mapping[str, Any],
        *,
        compute: Callable[[], Result],
        write: Callable[[Result, Path], None],
        read: Callable[[Path], Result],
    ) -> Result:
        """Return a stage's result from the cache, or compute it and keep it. `parts` is all that it depends on."""
        begin = time.perf_counter()
        key = key_from_parts(name, parts)
        found = self.cache.get(name, key)
        if found is not None:
            try:
                result = read(found)
            except BertcError as error:  # written by a bertc of another format
                self._progress.note(f"{name}: computed again, since its cache entry cannot be read ({error})")
            else:
                self._progress.note(f"{name}: unchanged, taken from the cache")
                self._record(name, begin, cached=True)
                return result
        result = compute()
        with self.cache.put(name, key) as folder:
            if folder is not None:
                write(result, folder)
        self._record(name, begin, cached=False)
        return result

    def _record(self, name: str, begin: float, *, cached: bool) -> None:
        seconds = time.perf_counter() - begin
        self.times.append(StageTime(name=name, seconds=seconds, cached=cached, peak_rss_mib=peak_rss_mib()))


def peak_rss_mib() -> float:
    """Return the process's peak resident memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 2**20  # Linux counts KiB, macOS bytes
