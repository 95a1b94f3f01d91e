"""Throughput over the lengths of real text: padded, packed and sorted, for artefacts of one checkpoint, interleaved.

    bertc build CHECKPOINT ... --target ort-cpu -o ORT
    bertc build CHECKPOINT ... --target openvino -o OV
    python benchmarks/packing.py --artefact ORT --artefact OV --data DEV.tsv [--batch 32] [--rounds 7] [--out FILE.json]

In arrival order the engine gets calls of `--batch` texts: *padded* to the longest of the call, or *packed* as
`bertc.load` does it (rows of several texts where that is expected to be faster). With all texts known at once they are
*sorted* by length into batches, or go through `bertc.load` in one call (*all packed*). `--peer NAME=FILE.xml` adds any
OpenVINO model with the same inputs and outputs, padded and sorted. The first artefact's (or the first peer's) padded
time is what ratios compare with; a round runs every way once. Tokenizing is left out, planning and filling batches is
not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import run_facts

import bertc
from bertc.core.batch import Batch, batch_from_features, batches_from_features
from bertc.core.feature import Feature
from bertc.core.outputs import output_names
from bertc.data.dataset import dataset_from_path
from bertc.runtime.batch_plan import planned_batches
from bertc.runtime.engine import TOKENS_PER_BATCH
from bertc.runtime.openvino.compiled_model import open_model
from bertc.targets import target_from_name

SECONDS_BETWEEN = 0.05
Way = Callable[[], Iterator[Batch]]
Run = Callable[[Batch, Sequence[str]], Any]


def ways_of(features: Sequence[Feature], size: int, row_length: int | None) -> dict[str, Way]:
    """Return the ways to make batches of the texts; without a row length, those that need no packing."""
    calls = [features[start : start + size] for start in range(0, len(features), size)]

    def padded() -> Iterator[Batch]:
        return (batch_from_features(call, range(len(call))) for call in calls)

    def packed() -> Iterator[Batch]:
        return (batch for call in calls for batch in planned_batches(call, TOKENS_PER_BATCH, row_length=row_length))

    def in_order() -> Iterator[Batch]:
        return batches_from_features(features, TOKENS_PER_BATCH)

    def all_packed() -> Iterator[Batch]:
        return planned_batches(features, TOKENS_PER_BATCH, row_length=row_length)

    ways: dict[str, Way] = {"padded": padded, "sorted": in_order}
    return ways if row_length is None else {**ways, "packed": packed, "all packed": all_packed}


def seconds(run: Run, way: Way, outputs: Sequence[str]) -> float:
    """Make and run all batches once."""
    begin = time.perf_counter()
    for batch in way():
        run(batch, outputs)
    return time.perf_counter() - begin


def shapes_of(way: Way) -> dict[str, int]:
    """Count a way's batches and the tokens that it computes."""
    batches = list(way())
    return {"batches": len(batches), "tokens": sum(batch.input_ids.size for batch in batches)}


def measured(cases: dict[str, tuple[Run, Way]], outputs: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Time every case once a round, after one round that warms up; the order turns."""
    names = list(cases)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(SECONDS_BETWEEN)  # the threads of the engine before still spin for a while
            taken = seconds(*cases[name], outputs)
            if number:
                times[name].append(taken)
    return times


def print_table(cases: dict[str, tuple[Run, Way]], times: dict[str, list[float]], texts: int, base: str) -> None:
    """Print a Markdown table."""
    print("| engine and way | texts/s | ratio (quartiles) | batches | tokens computed |")
    print("| --- | --- | --- | --- | --- |")
    for name, (_, way) in cases.items():
        ratios = [before / now for before, now in zip(times[base], times[name], strict=True)]
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        shapes = shapes_of(way)
        speed = texts / median(times[name])
        print(
            f"| {name} | {speed:.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {shapes['batches']} "
            f"| {shapes['tokens']} |"
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="folder of bertc build; again")
    parser.add_argument("--peer", action="append", default=[], help="NAME=openvino_model.xml, repeatable")
    parser.add_argument("--data", required=True, help="labelled data of the artefacts' task; labels are not used")
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME, repeatable")
    parser.add_argument("--limit", type=int, help="use a seeded sample of so many rows")
    parser.add_argument("--batch", type=int, default=32, help="texts of a call")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases: dict[str, tuple[Run, Way]] = {}
    with ExitStack() as stack:
        models = [stack.enter_context(bertc.load(path, threads=options.threads)) for path in options.artefact]
        first = models[0]
        columns = dict(pair.split("=", 1) for pair in options.column)
        dataset = dataset_from_path(options.data, layout=first.task.layout, columns=columns, limit=options.limit)
        features = first.features_from_rows(first.task.check_rows(dataset.rows, first.head))
        for name, path in (pair.split("=", 1) for pair in options.peer):
            peer = stack.enter_context(open_model(Path(path), threads=options.threads))
            cases |= {
                f"{name}, {way}": (peer.run, make) for way, make in ways_of(features, options.batch, None).items()
            }
        for path, model in zip(options.artefact, models, strict=True):
            ways = ways_of(features, options.batch, model.row_length)
            label = f"{model.manifest.target} ({path.name})"
            cases |= {f"{label}, {way}": (model.run_batch, make) for way, make in ways.items()}
        times = measured(cases, output_names(first.task.outputs(first.head)), options.rounds)
    libraries = {target_from_name(model.manifest.target).runtime.library for model in models}
    if options.peer:
        libraries.add("openvino")
    base = next(iter(cases))
    lengths = [feature.length for feature in features]
    print(f"{len(lengths)} inputs of {np.mean(lengths):.1f} tokens on average, at most {max(lengths)}\n")
    print_table(cases, times, len(features), base)
    if options.out:
        document = {
            **run_facts(*libraries, threads=options.threads),
            "inputs": {"count": len(lengths), "mean": float(np.mean(lengths)), "longest": max(lengths)},
            "row_length": {path.name: model.row_length for path, model in zip(options.artefact, models, strict=True)},
            "batch": options.batch,
            "ratio_to": base,
            "seconds": times,
            "shapes": {name: shapes_of(way) for name, (_, way) in cases.items()},
        }
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
