"""Processes of our own for long work: they leave interrupts to their parent and never outlive it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from multiprocessing.queues import SimpleQueue
from typing import ParamSpec, TypeVar

from bertc.core.freed_memory import keep_freed_memory
from bertc.core.own_gpu import take_own_gpu
from bertc.core.signals import ends_held

P = ParamSpec("P")
Result = TypeVar("Result")


@contextmanager
def open_processes(workers: int) -> Iterator[Executor]:
    """Give an executor of so many processes; if the block raises, they are asked to end (SIGTERM) and waited for."""
    before = set(active_children())
    # spawn: a fork would copy the locks of the runtimes' threads without the threads.
    context = get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    pool = Pool(workers, mp_context=context, initializer=_begin, initargs=(numbers,))
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class Pool(ProcessPoolExecutor):
    """Processes that are started whole, and that the keyboard's interrupt never reaches.

    A process that begins reads from a pipe what it is to be. Its parent's end in the middle of that, or an interrupt
    before `obey_parent` runs, would let it fail with a traceback among what the command says.
    """

    def submit(self, task: Callable[P, Result], /, *arguments: P.args, **named: P.kwargs) -> Future[Result]:
        """Begin a task, which may start a process: what ends this one waits for that."""
        with ends_held(), interrupts_blocked():
            return super().submit(task, *arguments, **named)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in this thread and in the processes that it starts, which keep that."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # where the start of a process has to start it, it unblocks SIGINT again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _begin(numbers: SimpleQueue[int]) -> None:
    obey_parent()
    take_own_gpu(numbers.get())
    keep_freed_memory()


def obey_parent() -> None:
    """Leave the keyboard's interrupt to the parent, and end when the parent does, however it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
