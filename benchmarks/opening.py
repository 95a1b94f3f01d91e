"""How long an artefact takes to open, and what memory a loaded engine holds: every opening in a fresh process.

    python benchmarks/opening.py --artefact OV --artefact ORT --artefact NATIVE [--rounds 15] [--out FILE.json]

- *first*: `bertc.load` in a process that has imported bertc and nothing else; the runtime's own import is part of it.
- *again*: `bertc.load` a second time in the same process: the files are checked, the tokenizer and the engine opened.
- *engine*: the engine alone, a third time.
- *MiB*: what the process holds more than before: with the engine open, and after a call of 16 x 128. *Own* memory
  (anonymous) is this process's alone; *mapped* is resident of files, which processes share and the system may drop.

The artefacts take turns in every round. Times are medians, and as ratios to the first artefact's the medians of the
ratios within a round, with quartiles; above 1 is faster than that. The files are in the system's cache. On Linux.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import heading, run_facts

from bertc.artefact.manifest import verify_artefact
from bertc.core.outputs import output_names
from bertc.jobs.predict import predictor_from_path
from bertc.runtime.latency import full_batch
from bertc.targets import target_from_name

VOCABULARY = 1000
BATCH = (16, 128)
SECONDS = ("first", "again", "engine")
MEMORY = ("own", "mapped", "own after a call", "mapped after a call")
Figures = dict[str, float]


def resident() -> tuple[float, float]:
    """Return this process's anonymous resident memory and that of files, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    own, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def opening(folder: str, threads: int) -> Figures:
    """Open an artefact three times in this process, which is to be a fresh one; returns seconds and MiB."""
    before = resident()
    begin = time.perf_counter()
    first = predictor_from_path(folder, threads=threads)
    seconds = [time.perf_counter() - begin]
    opened = resident()
    first.run_batch(full_batch(*BATCH, VOCABULARY), output_names(first.task.outputs(first.head)))
    called = resident()
    begin = time.perf_counter()
    predictor_from_path(folder, threads=threads).close()
    seconds.append(time.perf_counter() - begin)
    runtime = target_from_name(first.manifest.target).runtime
    begin = time.perf_counter()
    runtime.engine_from_path(Path(folder) / runtime.model_files[0], threads=threads).close()
    seconds.append(time.perf_counter() - begin)
    first.close()
    held = [now - then for after in (opened, called) for now, then in zip(after, before, strict=True)]
    return dict(zip((*SECONDS, *MEMORY), (*seconds, *held), strict=True))


def measured(folders: Sequence[str], threads: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Open every artefact once a round, each time in a process of its own."""
    found: dict[str, dict[str, list[float]]] = {folder: {} for folder in folders}
    for number in range(rounds):
        shift = number % len(folders)
        for folder in (*folders[shift:], *folders[:shift]):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                for name, value in pool.submit(opening, folder, threads).result().items():
                    found[folder].setdefault(name, []).append(value)
    return found


def page(document: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    opened = document["opened"]
    base = next(iter(opened))
    lines = heading("Opening an artefact", document)
    lines += [f"Milliseconds (times as fast as {base}, with quartiles), medians of {document['rounds']} rounds:", ""]
    lines += [f"| | {' | '.join(SECONDS)} |", "| --- " * (len(SECONDS) + 1) + "|"]
    for folder, own in opened.items():
        cells = []
        for name in SECONDS:
            low, middle, high = np.percentile(np.divide(opened[base][name], own[name]), [25, 50, 75])
            cells.append(f"{1e3 * median(own[name]):.1f} ({middle:.2f}, {low:.2f} to {high:.2f})")
        lines.append(f"| {folder} | {' | '.join(cells)} |")
    lines += ["", "MiB, medians:", "", f"| | {' | '.join(MEMORY)} |", "| --- " * (len(MEMORY) + 1) + "|"]
    for folder, own in opened.items():
        lines.append(f"| {folder} | {' | '.join(f'{median(own[name]):.1f}' for name in MEMORY)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", action="append", required=True, help="a folder of bertc build; repeatable")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--out", type=Path, help="a JSON file; the table lies beside it")
    options = parser.parse_args()
    libraries = {target_from_name(verify_artefact(Path(path)).target).runtime.library for path in options.artefact}
    document = {
        **run_facts(*libraries, threads=options.threads),
        "rounds": options.rounds,
        "opened": measured(options.artefact, options.threads, options.rounds),
    }
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(page(document), encoding="utf-8")
    print(page(document))


if __name__ == "__main__":
    main()
