"""One engine in a process of its own. It opens, and then obeys one line of JSON at a time; between two lines it waits.

    python worker.py '{"kind": ..., "folder": ..., "inputs": ..., "options": {...}, "threads": 2, ...}'

Answers go to standard output, everything that libraries print to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BEGIN = time.perf_counter()

import numpy as np  # noqa: E402  what is imported is a part of what opening costs
from inputs import Inputs  # noqa: E402
from memory import peak_mib  # noqa: E402
from openers import open_engine  # noqa: E402


class Worker:
    """The commands."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.inputs = Inputs(Path(wanted["inputs"]))
        self.engine = open_engine(wanted, self.inputs)

    def warm(self, shape: str) -> dict[str, Any]:
        """Run a shape until it is warm; returns the milliseconds of one run."""
        feeds = self.inputs.shape(shape)
        for _ in range(2):
            self.engine.run(feeds)
        return {"milliseconds": self._once(feeds, 1)}

    def time(self, shape: str, repeats: int) -> dict[str, Any]:
        """Time a shape: the mean of `repeats` runs after one that is not timed."""
        feeds = self.inputs.shape(shape)
        self.engine.run(feeds)
        return {"milliseconds": self._once(feeds, repeats)}

    def _once(self, feeds: Any, repeats: int) -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            self.engine.run(feeds)
        return (time.perf_counter() - begin) / repeats * 1e3

    def stream(self, text: str, batch: int, order: str, limit: int | None = None) -> dict[str, Any]:
        """Time a whole text in batches of so many; `order` is "arrival" or "sorted" (by length)."""
        features = self.inputs.features(text)[:limit]
        begin = time.perf_counter()
        self.engine.stream(features, batch, order)
        return {"seconds": time.perf_counter() - begin}

    def outputs(self, text: str, out: str, per_token: bool) -> dict[str, Any]:
        """Write every output of a text, in batches of 32 in the order of arrival."""
        found = self.engine.answers(self.inputs.features(text), per_token)
        np.savez(out, **{f"{name}.{row}": value for name, rows in enumerate(found) for row, value in enumerate(rows)})
        return {}

    def memory(self) -> dict[str, Any]:
        """Return the peak memory so far."""
        return {"peak_mib": peak_mib()}


def main() -> None:
    """Open, say so, obey."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(json.loads(sys.argv[1]))
    print(json.dumps({"open_seconds": time.perf_counter() - BEGIN, "peak_mib": peak_mib()}), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(getattr(worker, asked.pop("do"))(**asked)), file=answers)


if __name__ == "__main__":
    main()
