"""An executor whose workers are actors of a Ray cluster, each a process that keeps what its tasks opened.

`open_ray` has the shape that every executor of bertc's jobs has: a count of workers in, a
`concurrent.futures.Executor` out. Tasks and results are pickled; the nodes have bertc, and see the files under the same
paths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, ParamSpec, TypeVar

from bertc.core.freed_memory import keep_freed_memory
from bertc.core.lost_worker import TRIES, lost_too_often
from bertc.core.ray_cluster import joined_cluster
from bertc.errors import EnvironmentLackError

P = ParamSpec("P")
Result = TypeVar("Result")
LOOK_SECONDS = 0.5
"""So often an actor that waits for a core looks whether it is still wanted."""


@contextmanager
def open_ray(count: int) -> Iterator[RayExecutor]:
    """Give an executor of so many actors (0: as many as the cluster has cores), of one core each, and end them.

    The cluster is joined, or started. If the block raises, the actors are ended in the middle of what they are at.
    """
    with joined_cluster() as cluster:
        executor = RayExecutor(count or cluster.cores)
        try:
            yield executor
        except BaseException:
            executor.kill()
            raise
        finally:
            executor.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Task:
    """A call and who waits for it. It mutates: losses are counted."""

    future: Future[Any]
    call: Callable[[], Any]
    losses: int = 0


class RayExecutor(Executor):
    """Begins tasks in the order in which they are submitted, each on the next actor that is free.

    An actor that is lost is replaced and its task is the next to begin, until that lost `TRIES` of them: its error is
    then `EnvironmentLackError`. An actor for which no core is free waits for one, while the others work. Where none can
    be started any more, all tasks have an `EnvironmentLackError`.
    """

    def __init__(self, count: int) -> None:
        """Start the actors, in a cluster that was joined."""
        self._tasks: deque[_Task] = deque()
        self._changed = Condition()
        self._shut = self._killed = False
        self._actors: list[Any] = []
        self._working = count
        self._lack: EnvironmentLackError | None = None
        self._threads = [Thread(target=self._work, name=f"bertc-ray-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
        """Hand out a task. Raises `EnvironmentLackError` where no actor can be started any more."""
        future: Future[Result] = Future()
        with self._changed:
            if self._lack is not None:
                raise self._lack
            if self._shut:
                raise RuntimeError("a task was submitted to an executor that is shut down")
            self._tasks.append(_Task(future, _Call(fn, args, kwargs)))
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the actors once they have done what was submitted, or, to cancel, what they are at."""
        with self._changed:
            self._shut = True
            while cancel_futures and self._tasks:
                self._tasks.popleft().future.cancel()
            self._changed.notify_all()
        for thread in self._threads if wait else ():
            thread.join()

    def kill(self) -> None:
        """End the actors at once; the futures of what they were at have a `BrokenExecutor`."""
        import ray

        self._killed = True
        self.shutdown(wait=False, cancel_futures=True)
        for actor in tuple(self._actors):
            ray.kill(actor)

    def _work(self) -> None:
        """Have one actor after the other, until there are no more tasks."""
        lack = "an actor was lost, and the others had ended"
        try:
            while not self._run():
                pass
        except Exception as error:  # noqa: BLE001  Ray has no type of its own for a cluster that is gone
            lack = str(error)
        self._end(lack)

    def _end(self, lack: str) -> None:
        """Leave the tasks to those that still have actors; the last one tells what lacks to all who wait for a task."""
        with self._changed:
            self._working -= 1
            if self._working or (self._shut and not self._tasks):
                return
            self._lack = EnvironmentLackError(
                f"the Ray cluster starts no actors: {lack}; start it again, or set RAY_ADDRESS to one that runs"
            )
            while self._tasks:
                future = self._tasks.popleft().future
                if future.running() or future.set_running_or_notify_cancel():
                    future.set_exception(self._lack)

    def _run(self) -> bool:
        """Give tasks to an actor until there are no more, or it is lost; return whether that is all."""
        import ray

        actor, task = ray.remote(_Worker).options(num_cpus=1).remote(), None
        self._actors.append(actor)
        try:
            begun = actor.begin.remote()
            while not ray.wait([begun], timeout=LOOK_SECONDS)[0]:
                if self._shut and not self._tasks:
                    return True
            ray.get(begun)
            while (task := self._next()) is not None:
                self._do(task, actor)
        except (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
            self._lose(task or self._next())
            return self._killed
        else:
            return True
        finally:
            self._actors.remove(actor)
            ray.kill(actor)

    def _next(self) -> _Task | None:
        """Wait for the next task; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks or self._shut)
            return self._tasks.popleft() if self._tasks else None

    def _do(self, task: _Task, actor: Any) -> None:
        """Let the actor do a task. Raises Ray's error if it is lost."""
        import ray

        if not task.future.running() and not task.future.set_running_or_notify_cancel():
            return
        try:
            result, error = ray.get(actor.do.remote(task.call))
        except (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
            raise
        except Exception as failed:  # noqa: BLE001  it is the task's: what cannot be pickled, say
            result, error = None, failed
        if error is None:
            task.future.set_result(result)
        else:
            task.future.set_exception(error)

    def _lose(self, task: _Task | None) -> None:
        """Begin a task again whose actor was lost, unless it lost too many."""
        if task is None:
            return
        task.losses += 1
        if not task.future.running() and not task.future.set_running_or_notify_cancel():
            return
        if self._killed:
            task.future.set_exception(BrokenExecutor("the actors of Ray were ended"))
        elif task.losses == TRIES:
            task.future.set_exception(lost_too_often())
        else:
            with self._changed:
                self._tasks.appendleft(task)
                self._changed.notify()


@dataclass(frozen=True, slots=True)
class _Call:
    """A function with its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def __call__(self) -> Any:
        return self.function(*self.arguments, **self.named)


class _Worker:
    """What an actor is: a process that does tasks."""

    def begin(self) -> None:
        """Answer: the actor has its core."""
        keep_freed_memory()

    def do(self, call: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
        """Return a task's result, or what it raised, in its own type."""
        try:
            return call(), None
        except Exception as error:  # noqa: BLE001  it belongs to who submitted the task
            return None, error
