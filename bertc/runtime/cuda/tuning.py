"""Which of several ways to launch a kernel is the fastest here: measured once, kept in a file for GPU and versions."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.runtime.errors import OutOfResources

from bertc.runtime.cuda.library import interpreted

REPEATS, REPLAYS = 10, 3
"""Launches of a measurement, one behind the other, and how often it is done; the fastest counts."""

Way = dict[str, Any]


class Tuner:
    """Chooses ways by key, and remembers them. It mutates as it learns."""

    def __init__(self, path: Path | None) -> None:
        """Read what is known from a file, where there is one; `path` None keeps nothing."""
        self._path = path
        self.measured: dict[str, list[float]] = {}
        """Milliseconds of each way, for what was measured since it was opened."""

        self._known: dict[str, Way] = {}
        self._gpu = "interpreter" if interpreted() else f"{torch.cuda.get_device_name()} triton {triton.__version__}"
        self._known.update(self._kept().get(self._gpu, {}))

    @property
    def chosen(self) -> dict[str, Way]:
        """The ways by key."""
        return dict(self._known)

    def way(self, key: str, ways: Sequence[Way], launch: Callable[[Way], None]) -> Way:
        """Return the fastest of the ways; those that need more of the GPU than there is are none."""
        known = self._known.get(key)
        if known is not None and known in ways:
            return known
        if interpreted() or len(ways) == 1:
            return ways[0]
        self.measured[key] = [milliseconds(launch, way) for way in ways]
        self._known[key] = ways[int(np.argmin(self.measured[key]))]
        self._save()
        return self._known[key]

    def _save(self) -> None:
        """Add what was learned to the file, beside what others learned meanwhile."""
        if self._path is None:
            return
        every = self._kept()
        self._known = every.get(self._gpu, {}) | self._known
        every[self._gpu] = self._known
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f"{self._path.stem}-", dir=self._path.parent)
            os.close(descriptor)
            work = Path(name)
            try:
                work.write_text(json.dumps(every, indent=0, sort_keys=True) + "\n", encoding="utf-8")
                work.replace(self._path)
            finally:
                work.unlink(missing_ok=True)
        except OSError:  # a full or read-only disk: what is known here stays known here
            self._path = None

    def _kept(self) -> dict[str, dict[str, Way]]:
        """Read the file; one that is missing or damaged knows nothing, and is written anew by what is measured."""
        try:
            found = json.loads("{}" if self._path is None else self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        whole = isinstance(found, dict) and all(isinstance(ways, dict) for ways in found.values())
        return found if whole else {}


def milliseconds(launch: Callable[[Way], None], way: Way) -> float:
    """Return the time of a launch in milliseconds; infinite where the GPU has too little of something.

    Launches are captured as a graph: one by one, Python takes longer to launch a kernel than the GPU to run it.
    """
    try:
        launch(way)
    except OutOfResources:
        return float("inf")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            launch(way)
    graph.replay()
    found = []
    for _ in range(REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(float(begin.elapsed_time(end)) / REPEATS)
    return min(found)
