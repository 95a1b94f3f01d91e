"""Memory of an open artefact over many calls of random texts: does it stay flat?

    python benchmarks/memory.py --artefact OV --artefact ORT [--calls 3000] [--threads 1] [--out FILE.json]

Every artefact has a process of its own, which reads its resident memory (anonymous pages: what cannot be dropped) after
each call of `predict` with 1 to 8 texts of 1 to 120 words. *early* is the most of the first tenth of the calls, *late*
the most of the rest, and *growth* late / early. Milliseconds are CPU time per call: other programs do not count.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from machine import run_facts

import bertc

WORDS = (
    "the",
    "film",
    "is",
    "a",
    "warm",
    "and",
    "very",
    "funny",
    "look",
    "at",
    "what",
    "it",
    "takes",
    "to",
    "make",
    "one",
)
MOST_TEXTS, MOST_WORDS = 8, 120
KEPT = 60
"""Readings that the result keeps."""


def resident_mib() -> float:
    """Return this process's anonymous resident memory in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


def readings(artefact: str, calls: int, threads: int, seed: int) -> dict[str, Any]:
    """Ask an artefact `calls` times; its memory over time and what a call took."""
    choose = random.Random(seed)
    memory = []
    with bertc.load(artefact, threads=threads) as model:
        pairs = model.task.name == "question-answering"
        loaded = resident_mib()
        begin = time.process_time()
        for _ in range(calls):
            texts = [random_text(choose) for _ in range(choose.randint(1, MOST_TEXTS))]
            model.predict(texts, [random_text(choose) for _ in texts] if pairs else None)
            memory.append(resident_mib())
        seconds = time.process_time() - begin
        target = model.manifest.target
    tenth = max(1, calls // 10)
    early, late = max(memory[:tenth]), max(memory[tenth:])
    return {
        "artefact": artefact,
        "target": target,
        "loaded_mib": loaded,
        "early_mib": early,
        "late_mib": late,
        "growth": late / early,
        "cpu_milliseconds": 1000 * seconds / calls,
        "mib": memory[:: max(1, calls // KEPT)],
    }


def random_text(choose: random.Random) -> str:
    """Return words, few more often than many."""
    return " ".join(choose.choices(WORDS, k=int(MOST_WORDS ** choose.random())))


def main() -> None:
    """Measure each artefact, print a line and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", action="append", required=True)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = run_facts("onnxruntime", "openvino", threads=options.threads) | {"calls": options.calls, "engines": []}
    for artefact in options.artefact:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(readings, artefact, options.calls, options.threads, options.seed).result()
        result["engines"].append(found)
        print(
            f"{found['target']:12} loaded {found['loaded_mib']:.0f} MiB, early {found['early_mib']:.0f}, "
            f"late {found['late_mib']:.0f} (x{found['growth']:.3f}), {found['cpu_milliseconds']:.1f} ms of CPU a call"
        )
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
