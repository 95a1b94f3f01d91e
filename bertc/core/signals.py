"""Signals that end a process: SIGTERM as an exception, so that working folders are removed, and what it may not cut."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end. No `Exception`: nobody may catch it by accident. Its text says what is left."""


@contextmanager
def termination_raised() -> Iterator[None]:
    """Let the first SIGTERM raise `Terminated`; further ones are ignored while things are put in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: the embedding program has its own way to end
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ends_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the block is over, which they would otherwise cut at any instruction.

    Blocking them in this thread would not do: the system hands them to another one, and Python calls the handler here.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers are called in the main thread only
        yield
        return
    arrived: list[int] = []

    def hand_on() -> None:
        for number in arrived:
            signal.raise_signal(number)

    with ExitStack() as stack:
        stack.callback(hand_on)
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler is not None:  # None: an embedding program's own, which Python could not put back
                stack.callback(signal.signal, number, handler)
                signal.signal(number, lambda number, frame: arrived.append(number))
        yield
