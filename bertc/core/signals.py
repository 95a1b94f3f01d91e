"""SIGTERM as an exception, so that a build that is stopped removes its working folders."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """The process was asked to end. No `Exception`: nobody may catch it by accident."""


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
