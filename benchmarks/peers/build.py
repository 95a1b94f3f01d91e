"""Build one model in a process of its own, and write beside it what that took.

python build.py '{"model": "file:function", "arguments": {...}, "checkpoint": ..., "folder": ..., "inputs": ...}'
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path

from inputs import Inputs
from memory import peak_mib

RECORD = "built.json"


def main() -> None:
    """Build, measure, write."""
    wanted = json.loads(sys.argv[1])
    folder = Path(wanted["folder"])
    module, function = wanted["model"].split(":")
    begin = time.perf_counter()
    build = getattr(importlib.import_module(module), function)
    build(Path(wanted["checkpoint"]), folder, Inputs(Path(wanted["inputs"])), **wanted["arguments"])
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record = {"seconds": time.perf_counter() - begin, "peak_mib": max(peak_mib(), programs)}
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main()
