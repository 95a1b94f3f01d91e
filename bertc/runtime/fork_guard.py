"""What becomes of an open engine when its process forks: the parent keeps it, the child is told to load its own.

A forked child has the runtime's memory and none of its threads. Running the engine there waits for them for ever, and
so does freeing it. How a child ends is out of our hands: one that ends by `os._exit`, as those of multiprocessing do,
ends; one that ends by `sys.exit` hangs in onnxruntime 1.32, also if it was only imported before the fork.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from weakref import WeakSet

from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.runtime.engine import Array, Closing, Engine

_GUARDED: WeakSet[ForkGuard] = WeakSet()
CLOSED = "this artefact was closed; call bertc.load again"
FORKED = (
    "this artefact was loaded before the process forked, and an engine's threads do not survive a fork; call "
    "bertc.load in the child, after the fork"
)


class ForkGuard(Closing):
    """An engine that a forked child does not run, and neither closes nor frees; nobody runs it once it is closed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _GUARDED.add(self)

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs as the engine does. Raises `InputError` once it is closed, and in a forked child."""
        return self._engine.run(batch, outputs)

    def close(self) -> None:
        """Free what the engine holds; nothing in a forked child."""
        self._engine.close()
        self._engine = _Refusing(CLOSED)

    def disown(self) -> None:
        """Keep the engine for ever, so that nobody frees it, and stand in its place."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self._engine = _Refusing(FORKED)


class _Refusing(Closing):
    """Stands where an engine was, and says why it runs no more."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Refuse."""
        raise InputError(self._reason)

    def close(self) -> None:
        """There is nothing to free."""


def _disown_all() -> None:
    for guard in list(_GUARDED):
        guard.disown()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_disown_all)
