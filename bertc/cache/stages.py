"""The stages of one run: timed, kept in the cache, and taken from it when what they take did not change.

A cached stage is a value, `Stage`, and its key is composed of the keys of exactly the values that its function takes:
there is no second list of them that could lack one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import onnx_ir as ir

from bertc.cache.store import StageCache, key_from_parts
from bertc.core.keys import key_of
from bertc.core.progress import Progress
from bertc.core.versions import library_versions
from bertc.core.workers import Workers
from bertc.errors import BertcError
from bertc.ir.graph_digest import digest_of_graph

P = ParamSpec("P")
Result = TypeVar("Result")

UNCHANGED = "unchanged, taken from the cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Generic[P, Result]):
    """A function whose result is kept. It takes a progress sink and values that have keys, and nothing else.

    `write` keeps a result in a folder, `read` gives it back.
    """

    name: str
    function: Callable[Concatenate[Progress, P], Result]
    write: Callable[[Result, Path], None]
    read: Callable[[Path], Result]

    def key(self, *values: P.args, **named: P.kwargs) -> str:
        """Return the key of the result for these values. Raises `TypeError` for a value that has no key."""
        bound = signature(self.function).bind(None, *values, **named)
        bound.apply_defaults()
        taken = list(bound.arguments.items())[1:]  # without the progress sink
        parts: dict[str, Any] = {name: _key_of_value(value) for name, value in taken}
        parts["versions"] = library_versions()
        return key_from_parts(self.name, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """Wall seconds of one stage, whether the cache gave it, and the process's peak memory so far in MiB, if known."""

    name: str
    seconds: float
    cached: bool
    peak_rss_mib: float | None


class Work:
    """What every stage of a run needs: the cache, the progress sink, the workers, and the times so far, which grow.

    A run that is not `alone` has others beside it, so that no time of an engine would mean anything. The `workers` are
    the caller's to close; without any, this process does all.
    """

    def __init__(
        self, cache: StageCache, progress: Progress, *, alone: bool = True, workers: Workers | None = None
    ) -> None:
        self.cache = cache
        self.progress = progress
        self.alone = alone
        self.workers = workers or Workers()
        self.times: list[StageTime] = []

    @contextmanager
    def timed(self, name: str, total: int | None = None) -> Iterator[None]:
        """Announce and time a stage that is not kept, of `total` units. Stages within have their own seconds."""
        self.progress.stage(name, total)
        begin, before = time.perf_counter(), len(self.times)
        yield
        within = sum(stage.seconds for stage in self.times[before:])
        self._record(name, time.perf_counter() - begin - within, cached=False)

    def kept(self, stage: Stage[P, Result], *values: P.args, **named: P.kwargs) -> Result:
        """Return a stage's result for these values from the cache, or compute it and keep it."""
        begin = time.perf_counter()
        result, cached = self._taken_or_computed(stage, *values, **named)
        if cached:
            self.progress.note(f"{stage.name}: {UNCHANGED}")
        self._record(stage.name, time.perf_counter() - begin, cached=cached)
        return result

    @contextmanager
    def kept_in_parts(self, stage: Stage[P, Result]) -> Iterator[Callable[P, Result]]:
        """Give a function that is `kept` for one part of a large text after the other, and count them as one stage.

        A part is kept under its own values. Its entry is free again once it is read, so that there may be any number.
        """
        seconds, parts, taken = 0.0, 0, 0

        def kept_part(*values: P.args, **named: P.kwargs) -> Result:
            nonlocal seconds, parts, taken
            begin = time.perf_counter()
            result, cached = self._taken_or_computed(stage, *values, **named)
            seconds, parts, taken = seconds + time.perf_counter() - begin, parts + 1, taken + cached
            return result

        yield kept_part
        if taken:
            share = "" if taken == parts else f"{taken} of {parts} parts "
            self.progress.note(f"{stage.name}: {share}{UNCHANGED}")
        self._record(stage.name, seconds, cached=taken == parts)

    def holds(self, stage: Stage[P, Result], *values: P.args, **named: P.kwargs) -> bool:
        """Say whether the cache has a stage's result for these values."""
        found = self.cache.get(stage.name, stage.key(*values, **named))
        if found is not None:
            self.cache.release(found)
        return found is not None

    def _taken_or_computed(self, stage: Stage[P, Result], *values: P.args, **named: P.kwargs) -> tuple[Result, bool]:
        """Return a stage's result, and whether the cache gave it."""
        key = stage.key(*values, **named)
        found = self.cache.get(stage.name, key)
        if found is not None:
            try:
                return stage.read(found), True
            except BertcError as error:  # written by a bertc of another format
                self.progress.note(f"{stage.name}: computed again, since its cache entry cannot be read ({error})")
            finally:
                self.cache.release(found)
        result = stage.function(self.progress, *values, **named)
        with self.cache.put(stage.name, key) as folder:
            if folder is not None:
                stage.write(result, folder)
        return result, False

    def _record(self, name: str, seconds: float, *, cached: bool) -> None:
        self.times.append(StageTime(name=name, seconds=seconds, cached=cached, peak_rss_mib=peak_rss_mib()))


def _key_of_value(value: Any) -> Any:
    return digest_of_graph(value) if isinstance(value, ir.Model) else key_of(value)


def peak_rss_mib() -> float | None:
    """Return the process's peak resident memory in MiB; None on Windows, where Python does not tell."""
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 2**20  # Linux counts KiB, macOS bytes


@contextmanager
def cached_work(work: Work, scratch: Path) -> Iterator[Work]:
    """Give work with the user's cache, or one in `scratch` for this run alone: what engines share is computed once."""
    if work.cache.directory is not None:
        yield Work(work.cache, work.progress, alone=work.alone, workers=work.workers)
        return
    with StageCache(scratch / "cache", progress=work.progress) as cache:
        yield Work(cache, work.progress, alone=work.alone, workers=work.workers)
