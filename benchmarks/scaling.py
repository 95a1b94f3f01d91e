"""How artefacts scale on one machine: threads and instances, callers, length, batch, memory.

    python benchmarks/scaling.py --artefact NATIVE --artefact OV --artefact ORT --out RESULT.json [--rounds 5]

- *instances*: texts per second of 16 x 128 with one engine on one thread, one on all, and several on one thread each,
  in processes of their own that start together.
- *callers*: calls per second of one engine on all threads that 1, 2, 4 and 8 threads call at the same time, at 1 x 32
  and at 16 x 128.
- *length*: milliseconds per text of a batch of 8 as it grows from 16 to 512 tokens (or what the model takes).
- *batch*: milliseconds per text of 32 tokens as the batch grows from 1 to 256.
- *memory*: MiB that a process holds with the engine open, and at most while it runs 16 x 128; what Python and the
  libraries take without an engine is not subtracted.

Artefacts take turns within a round; figures are medians over rounds. Beside RESULT.json a Markdown table and plots are
written. On Linux.
"""

from __future__ import annotations

import argparse
import html
import json
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from machine import heading, run_facts

from bertc.artefact.manifest import verify_artefact
from bertc.core.outputs import output_names
from bertc.jobs.predict import Predictor, predictor_from_path
from bertc.runtime.latency import full_batch
from bertc.runtime.machine.cpu import usable_cores
from bertc.targets import target_from_name

LENGTHS = (16, 32, 64, 128, 256, 384, 512)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CALLERS = (1, 2, 4, 8)
CALLED = ((1, 32), (16, 128))
VOCABULARY = 1000
SECONDS_BETWEEN = 0.05
SECONDS_PER_MEASUREMENT = 0.3
SECONDS_OF_INSTANCES = 2.0
SECONDS_TO_OPEN = 8.0
WARM_UP = 3
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568")
Figures = dict[str, Any]
Call = Callable[[], object]


def call_of(predictor: Predictor, batch: int, length: int) -> Call:
    """Return a call that runs a full batch."""
    full = full_batch(batch, length, VOCABULARY)
    names = output_names(predictor.task.outputs(predictor.head))
    return lambda: predictor.run_batch(full, names)


def seconds_of(call: Call) -> float:
    """Return the seconds of a call, the mean of as many as fit into a measurement, after one that warms up."""
    call()
    begin = time.perf_counter()
    number = 0
    while number == 0 or time.perf_counter() - begin < SECONDS_PER_MEASUREMENT:
        call()
        number += 1
    return (time.perf_counter() - begin) / number


def per_text(
    predictors: Mapping[str, Predictor], shapes: Sequence[tuple[int, int]], rounds: int
) -> dict[str, list[float]]:
    """Return the milliseconds per text of each artefact at each shape."""
    times: dict[str, list[list[float]]] = {name: [[] for _ in shapes] for name in predictors}
    for _ in range(rounds):
        for place, (batch, length) in enumerate(shapes):
            for name, predictor in predictors.items():
                time.sleep(SECONDS_BETWEEN)  # the threads of the engine before still spin for a while
                times[name][place].append(1e3 * seconds_of(call_of(predictor, batch, length)) / batch)
    return {name: [median(found) for found in rows] for name, rows in times.items()}


def run_instance(folder: str, threads: int, start: float) -> float:
    """Open an engine, wait for the common start, and return the texts per second of 16 x 128."""
    with predictor_from_path(folder, threads=threads) as predictor:
        call = call_of(predictor, 16, 128)
        for _ in range(WARM_UP):
            call()
        if time.time() > start:
            raise SystemExit("an instance was not ready at the common start; run this on an idle machine")
        time.sleep(start - time.time())
        begin, number = time.perf_counter(), 0
        while time.perf_counter() - begin < SECONDS_OF_INSTANCES:
            call()
            number += 1
        return 16 * number / (time.perf_counter() - begin)


def texts_per_second(folder: str, threads: int, instances: int) -> float:
    """Return what so many instances answer together."""
    with ProcessPoolExecutor(instances, mp_context=multiprocessing.get_context("spawn")) as pool:
        start = time.time() + SECONDS_TO_OPEN
        return sum(pool.map(run_instance, *zip(*[(folder, threads, start)] * instances, strict=True)))


def calls_per_second(call: Call, callers: int) -> float:
    """Return the calls per second that so many threads make together."""

    def speed(caller: int) -> float:
        ready.wait()
        begin, number = time.perf_counter(), 0
        while time.perf_counter() - begin < SECONDS_PER_MEASUREMENT:
            call()
            number += 1
        return number / (time.perf_counter() - begin)

    ready = threading.Barrier(callers)
    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(speed, range(callers)))


def by_callers(predictors: Mapping[str, Predictor], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return, for each shape and artefact, the calls per second of each number of callers."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for _ in range(rounds):
        for batch, length in CALLED:
            own = found.setdefault(f"{batch} x {length}", {name: [[] for _ in CALLERS] for name in predictors})
            for place, callers in enumerate(CALLERS):
                for name, predictor in predictors.items():
                    time.sleep(SECONDS_BETWEEN)
                    call = call_of(predictor, batch, length)
                    call()
                    own[name][place].append(calls_per_second(call, callers))
    return {shape: {name: [median(each) for each in own[name]] for name in own} for shape, own in found.items()}


def memory_of(folder: str) -> tuple[float, float]:
    """Return the MiB that this process holds with the engine open, and at most while it runs."""
    with predictor_from_path(folder) as predictor:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        call_of(predictor, 16, 128)()
        return pages * resource.getpagesize() / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measured(folders: Mapping[str, str], rounds: int) -> Figures:
    """Measure everything."""
    cores = usable_cores()
    spread = {"1 engine, 1 thread": (1, 1), f"1 engine, {cores} threads": (cores, 1)}
    spread |= {f"{number} engines, 1 thread each": (1, number) for number in sorted({2, cores})}
    instances: dict[str, dict[str, list[float]]] = {name: {} for name in folders}
    memory = {}
    for _ in range(rounds):
        for label, (threads, number) in spread.items():
            for name, folder in folders.items():
                instances[name].setdefault(label, []).append(texts_per_second(folder, threads, number))
    for name, folder in folders.items():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            memory[name] = pool.submit(memory_of, folder).result()
    predictors = {name: predictor_from_path(folder) for name, folder in folders.items()}
    longest = min(predictor.encoder.positions for predictor in predictors.values())
    lengths = [length for length in LENGTHS if length <= longest]
    figures: Figures = {
        "instances": {name: {label: median(found) for label, found in own.items()} for name, own in instances.items()},
        "memory": memory,
        "length": {"x": lengths, "y": per_text(predictors, [(8, length) for length in lengths], rounds)},
        "callers": {"x": list(CALLERS), "y": by_callers(predictors, rounds)},
        "batch": {"x": list(BATCHES), "y": per_text(predictors, [(batch, 32) for batch in BATCHES], rounds)},
    }
    for predictor in predictors.values():
        predictor.close()
    return figures


def page(document: Figures) -> str:
    """Return the figures as Markdown."""
    lines = [
        *heading("Scaling on one machine", document),
        f"Medians of {document['rounds']} rounds.",
        "",
        "Texts per second at 16 x 128; MiB of a process with the engine open, and at most while it runs that:",
        "",
    ]
    labels = list(next(iter(document["instances"].values())))
    lines += ["| | " + " | ".join([*labels, "MiB open", "MiB at most"]) + " |", "| --- " * (len(labels) + 3) + "|"]
    for name, own in document["instances"].items():
        cells = [f"{own[label]:.0f}" for label in labels] + [f"{value:.0f}" for value in document["memory"][name]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    callers = document["callers"]
    for shape, part in callers["y"].items():
        lines += ["", f"Calls per second of {shape} by the threads that call one engine at the same time:", ""]
        lines += ["| | " + " | ".join(map(str, callers["x"])) + " |", "| --- " * (len(callers["x"]) + 1) + "|"]
        lines += [f"| {name} | " + " | ".join(f"{value:.1f}" for value in ys) + " |" for name, ys in part.items()]
    for key, title in (("length", "of 8 texts, by their length"), ("batch", "of texts of 32 tokens, by the batch")):
        part = document[key]
        lines += ["", f"Milliseconds per text, batches {title}:", ""]
        lines += ["| | " + " | ".join(map(str, part["x"])) + " |", "| --- " * (len(part["x"]) + 1) + "|"]
        lines += [f"| {name} | " + " | ".join(f"{value:.3f}" for value in ys) + " |" for name, ys in part["y"].items()]
    return "\n".join(lines) + "\n"


def plot(document: Figures) -> str:
    """Draw milliseconds per text over length and over batch, both steps doubling."""
    drawn = []
    for column, (key, title) in enumerate((("length", "8 texts of length"), ("batch", "texts of 32 tokens, batch of"))):
        part = document[key]
        left, top, width, height = 60 + column * 420, 50, 330, 200
        highest = max(max(ys) for ys in part["y"].values())
        steps = width / max(len(part["x"]) - 1, 1)
        drawn.append(f'<text x="{left}" y="30" font-weight="bold">ms per text: {title}</text>')
        drawn.append(f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#888"/>')
        drawn.append(f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{highest:.1f}</text>')
        drawn.append(f'<text x="{left - 6}" y="{top + height}" text-anchor="end">0</text>')
        for place, x in enumerate(part["x"]):
            across = left + place * steps
            drawn.append(f'<text x="{across:.0f}" y="{top + height + 16}" text-anchor="middle">{x}</text>')
        for number, (name, ys) in enumerate(part["y"].items()):
            colour = COLOURS[number % len(COLOURS)]
            points = " ".join(
                f"{left + place * steps:.1f},{top + height * (1 - y / highest):.1f}" for place, y in enumerate(ys)
            )
            drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            below = top + height + 36 + 16 * number
            drawn.append(f'<text x="{left}" y="{below}" fill="{colour}">{html.escape(name)}</text>')
    bottom = 300 + 16 * len(document["length"]["y"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{bottom}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(drawn)}</svg>\n'
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="folder of bertc build; again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="RESULT.json; RESULT.md and RESULT.svg beside it")
    options = parser.parse_args()
    folders = {path.name: str(path) for path in options.artefact}
    libraries = {target_from_name(verify_artefact(path).target).runtime.library for path in options.artefact}
    document = {
        **run_facts(*libraries),
        "rounds": options.rounds,
        **measured(folders, options.rounds),
    }
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(document), encoding="utf-8")
    options.out.with_suffix(".svg").write_text(plot(document), encoding="utf-8")
    print(page(document))


if __name__ == "__main__":
    main()
