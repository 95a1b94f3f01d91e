"""Processes of our own for long work: they leave interrupts to their parent and never outlive it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process


@contextmanager
def open_processes(workers: int) -> Iterator[Executor]:
    """Give an executor of so many processes; if the block raises, they are asked to end (SIGTERM) and waited for."""
    before = set(active_children())
    # spawn: a fork would copy the locks of the runtimes' threads without the threads.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=obey_parent)
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def obey_parent() -> None:
    """Leave the keyboard's interrupt to the parent, and end when the parent does, however it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
