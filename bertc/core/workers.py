"""Who does the tasks of a job: this process, or several of their own that share them.

The one seam to other machines as well: `Opened` gives a `concurrent.futures.Executor`, and a word beside the numbers in
`workers_from_text` names another one than processes. No result may depend on the number of workers: a job plans its
tasks by its data alone, and takes their results in the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from bertc.core.lost_worker import TRIES, lost_too_often
from bertc.core.processes import open_processes
from bertc.core.ray_cluster import check_ray
from bertc.core.ray_executor import open_ray
from bertc.errors import InputError

P = ParamSpec("P")
Result = TypeVar("Result")
Source = TypeVar("Source")

Opened = Callable[[int], AbstractContextManager[Executor]]
"""Gives an executor of so many workers, of which a lost one shows as `BrokenExecutor` unless it replaces that itself.

It then follows the rule of `bertc.core.lost_worker`. Tasks begin in the order in which they are submitted. Tasks and
results are pickled.
"""

MOST_WORKERS = 256
RAY = "ray"

KEPT_OPEN = 2
"""What an evaluation needs: the float model's engine and the other one."""


class Workers:
    """Shares tasks among workers, which start with `start` or the first task; close it, or use it as a context.

    With one worker and nothing that opens others, a task is done in this process when its result is asked for. A
    `count` of 0 is for `opened` to replace. `threads` are those of an engine in each worker where nobody names a
    number; 0 is the worker's share of this machine's cores. For one thread at a time.
    """

    def __init__(self, count: int = 1, opened: Opened | None = None, *, threads: int = 0) -> None:
        self.count = count
        self.threads = threads
        self.alone = count == 1 and opened is None
        """Whether this process does all tasks itself."""
        self._opened = opened or open_processes
        self._stack = ExitStack()
        self._executor: Executor | None = None
        self._unfinished: list[Begun[Any]] = []

    def begin(self, task: Callable[P, Result], *arguments: P.args, **named: P.kwargs) -> Begun[Result]:
        """Hand out a task: a function that a module has at its top, and arguments that can be pickled."""
        begun = Begun(self, task, *arguments, **named)
        if not self.alone:
            self._unfinished.append(begun)
            self._submit([begun])
        return begun

    def start(self, ready: Callable[[], None]) -> None:
        """Start the workers while this process prepares their tasks, with a call of `ready` for each.

        That loads libraries; what it raises, the tasks raise as well. A worker that is up long before another may take
        both calls: then the other's tasks load what is missing.
        """
        if not self.alone:
            self._submit([Begun(self, ready) for _ in range(self.count)])

    def finished(self, begun: Begun[Any]) -> None:
        """Forget a task, for whose result `begun` was asked."""
        if begun in self._unfinished:
            self._unfinished.remove(begun)

    def begin_again(self) -> None:
        """Take new workers in the place of lost ones, and begin again what is unfinished."""
        # As after an error, so that all are asked to end: a pool asks those that it knew when it broke, and waits for
        # ever for one that was started in that moment. Then every future has a result, or says that it has none.
        self._executor = None
        self._stack.__exit__(BrokenExecutor, BrokenExecutor("a worker was lost"), None)
        unfinished = [begun for begun in self._unfinished if begun.is_lost]
        for begun in unfinished[: self.count]:  # the workers begin in this order, so the lost ones had these
            begun.lose()
        self._submit([begun for begun in unfinished if begun.is_lost])

    def _submit(self, tasks: list[Begun[Any]]) -> None:
        try:
            if self._executor is None:
                self._executor = self._stack.enter_context(self._opened(self.count))
            for begun in tasks:
                begun.submit(self._executor)
        except BrokenExecutor:
            self.begin_again()

    def close(self) -> None:
        """End the workers, what they are at first; another task starts others."""
        self._executor = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; after an error at once."""
        self._executor = None
        self._stack.__exit__(kind, error, trace)


class Begun(Generic[Result]):
    """A task that was handed out. It mutates: it may be begun again."""

    def __init__(self, workers: Workers, task: Callable[P, Result], *arguments: P.args, **named: P.kwargs) -> None:
        self._losses = 0
        self._workers = workers
        self._submit: Callable[[Executor], Future[Result]] = lambda executor: executor.submit(task, *arguments, **named)
        self._here: Callable[[], Result] = lambda: task(*arguments, **named)
        self._future: Future[Result] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether its worker was lost, or it was never begun; known once the executor was shut down."""
        future = self._future
        return future is None or future.cancelled() or isinstance(future.exception(), BrokenExecutor)

    def lose(self) -> None:
        """Count that its worker was lost; so often, and its result is an error."""
        self._losses += 1
        if self._losses == TRIES:
            self._future = Future()
            self._future.set_exception(lost_too_often())

    def submit(self, executor: Executor) -> None:
        """Begin, perhaps again."""
        self._future = None
        self._future = self._submit(executor)

    def result(self) -> Result:
        """Wait for the result.

        Raises what the task raises, and `EnvironmentLackError` where it loses its workers again and again.
        """
        if self._workers.alone:
            return self._here()
        while True:
            try:
                assert self._future is not None
                result = self._future.result()
            except (BrokenExecutor, CancelledError):
                self._workers.begin_again()
            except BaseException:
                self._workers.finished(self)
                raise
            else:
                self._workers.finished(self)
                return result


def kept_open(opened: Callable[[Source], Result], source: Source) -> Result:
    """Open a source, which can be hashed, or return what was opened of it: a worker keeps the last ones open."""
    result: Result = _opened(opened, source)
    return result


@lru_cache(maxsize=KEPT_OPEN)
def _opened(opened: Callable[[Any], Any], source: Any) -> Any:
    return opened(source)


def workers_from_text(text: str) -> Workers:
    """Return the workers that a text names: a number of processes, `ray`, or `ray:` and a number of Ray's actors.

    `ray` has an actor for every core of the cluster, which is joined with the first task. Raises `InputError` for
    anything else, and `EnvironmentLackError` where Ray is missing.
    """
    kind, colon, number = text.partition(":")
    if kind != RAY:
        return Workers(_count(text, text))
    count = _count(number, text) if colon else 0
    check_ray()
    return Workers(count, open_ray, threads=1)  # the core that an actor has


def _count(number: str, text: str) -> int:
    if not number.isascii() or not number.isdigit() or len(number) > 4 or not 1 <= int(number) <= MOST_WORKERS:
        raise InputError(
            f"'{text}' is no number of workers; give one from 1 to {MOST_WORKERS}, for Ray's actors {RAY} or {RAY}:N"
        )
    return int(number)


def one_ahead(items: Iterable[Result]) -> Iterator[Result]:
    """Make each item before the one before it is used up, so that what it begins goes on meanwhile.

    >>> list(one_ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    ready: list[Result] = []
    for item in items:
        yield from ready
        ready = [item]
    yield from ready
