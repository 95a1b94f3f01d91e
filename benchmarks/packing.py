"""Throughput over the lengths of real text: padded, packed and sorted, for artefacts of one checkpoint, interleaved.

    bertc build CHECKPOINT ... --target ort-cpu -o ORT
    bertc build CHECKPOINT ... --target openvino -o OV
    bertc build CHECKPOINT ... --target native -o NATIVE
    python benchmarks/packing.py --artefact NATIVE --artefact OV --artefact ORT --peer NNCF=openvino_model.xml \
      --data DEV.tsv [--batch 32] [--rounds 15] [--out FILE.json]

In arrival order the engine gets calls of `--batch` texts: *padded* to the longest of the call, or *packed* as
`bertc.load` does it (rows of several texts where that is expected to be faster). With all texts known at once they are
*sorted* by length into batches, or go through `bertc.load` in one call (*all packed*). An engine that computes no
padding packs nothing: it has its *calls*, and *all* texts in one. `--batch 1` is single texts of changing lengths.
`--peer NAME=FILE.xml` adds any OpenVINO model with the same inputs and outputs, padded and sorted; it may be given with
several options, as NAME:HINT=FILE.xml with the precision hint f32 or bf16.

Ratios compare with the first peer padded and sorted (without a peer, with the first artefact's first two ways), and
the fastest artefact in order of arrival with the fastest of the others. They are within a round, medians with
quartiles; a round runs every way once. Tokenizing is left out, planning and filling batches is not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
from bertc.jobs.predict import Predictor
from bertc.runtime.batch_plan import planned_batches
from bertc.runtime.engine import TOKENS_PER_BATCH
from bertc.runtime.openvino.compiled_model import Precision, open_model
from bertc.targets import target_from_name

SECONDS_BETWEEN = 0.05
ARRIVAL = ("padded", "packed", "calls")
"""Ways that take texts as they come."""

Way = Callable[[], Iterator[Batch]]
Run = Callable[[Batch, Sequence[str]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An engine, how it runs a batch, and a way to make batches; `ours` is False for a peer's."""

    engine: str
    run: Run
    way: Way
    arrival: bool
    ours: bool


def cases_of(engine: str, run: Run, ways: Mapping[str, Way], *, ours: bool) -> dict[str, Case]:
    """Return an engine's cases by their names in the table."""
    return {
        f"{engine}, {name}": Case(engine=engine, run=run, way=way, arrival=name in ARRIVAL, ours=ours)
        for name, way in ways.items()
    }


def ways_of(features: Sequence[Feature], size: int, model: Predictor | None) -> dict[str, Way]:
    """Return the ways to make batches of the texts for an artefact, or for a peer's model."""
    calls = [features[start : start + size] for start in range(0, len(features), size)]
    row_length = None if model is None else model.row_length

    def padded() -> Iterator[Batch]:
        return (batch_from_features(call, range(len(call))) for call in calls)

    def planned_calls() -> Iterator[Batch]:
        return (batch for call in calls for batch in planned_batches(call, TOKENS_PER_BATCH, row_length=row_length))

    def in_order() -> Iterator[Batch]:
        return batches_from_features(features, TOKENS_PER_BATCH)

    def planned() -> Iterator[Batch]:
        return planned_batches(features, TOKENS_PER_BATCH, row_length=row_length)

    if model is not None and not target_from_name(model.manifest.target).packs_rows:
        return {"calls": planned_calls, "all": planned}
    ways: dict[str, Way] = {"padded": padded, "sorted": in_order}
    return ways if row_length is None else {**ways, "packed": planned_calls, "all packed": planned}


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


def measured(cases: Mapping[str, Case], outputs: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Time every case once a round, after one round that warms up; the order turns."""
    names = list(cases)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(SECONDS_BETWEEN)  # the threads of the engine before still spin for a while
            taken = seconds(cases[name].run, cases[name].way, outputs)
            if number:
                times[name].append(taken)
    return times


def ratio(now: Sequence[float], before: Sequence[float]) -> str:
    """Return how many times as fast `now` is, the median within a round with the quartiles."""
    low, middle, high = np.percentile(np.divide(before, now), [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def print_table(cases: Mapping[str, Case], times: Mapping[str, list[float]], texts: int) -> None:
    """Print a Markdown table."""
    bases = list(cases)[:2]
    print(f"| engine and way | texts/s | {' | '.join(f'over {base}' for base in bases)} | batches | tokens in them |")
    print("| --- | --- " + "| --- " * len(bases) + "| --- | --- |")
    for name, case in cases.items():
        ratios = " | ".join(ratio(times[name], times[base]) for base in bases)
        shapes = shapes_of(case.way)
        speed = texts / median(times[name])
        print(f"| {name} | {speed:.0f} | {ratios} | {shapes['batches']} | {shapes['tokens']} |")


def beside_the_next(cases: Mapping[str, Case], times: Mapping[str, list[float]]) -> str:
    """Compare the artefact that is the fastest in order of arrival with the fastest of all other engines."""
    arriving = sorted((name for name, case in cases.items() if case.arrival), key=lambda name: median(times[name]))
    ours = next(name for name in arriving if cases[name].ours)
    others = [name for name in arriving if cases[name].engine != cases[ours].engine]
    return f"As texts arrive: {ours}: {ratio(times[ours], times[others[0]])} over {others[0]}" if others else ""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="folder of bertc build; again")
    parser.add_argument("--peer", action="append", default=[], help="NAME[:f32|bf16]=openvino_model.xml, repeatable")
    parser.add_argument("--data", required=True, help="labelled data of the artefacts' task; labels are not used")
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME, repeatable")
    parser.add_argument("--limit", type=int, help="use a seeded sample of so many rows")
    parser.add_argument("--batch", type=int, default=32, help="texts of a call")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases: dict[str, Case] = {}
    with ExitStack() as stack:
        models = [stack.enter_context(bertc.load(path, threads=options.threads)) for path in options.artefact]
        first = models[0]
        columns = dict(pair.split("=", 1) for pair in options.column)
        dataset = dataset_from_path(options.data, layout=first.task.layout, columns=columns, limit=options.limit)
        features = first.features_from_rows(first.task.check_rows(dataset.rows, first.head))
        for given, path in (pair.split("=", 1) for pair in options.peer):
            precision: Precision = "bf16" if given.endswith(":bf16") else "f32"
            peer = stack.enter_context(open_model(Path(path), threads=options.threads, precision=precision))
            cases |= cases_of(given, peer.run, ways_of(features, options.batch, None), ours=False)
        for path, model in zip(options.artefact, models, strict=True):
            label = f"{model.manifest.target} ({path.name})"
            cases |= cases_of(label, model.run_batch, ways_of(features, options.batch, model), ours=True)
        times = measured(cases, output_names(first.task.outputs(first.head)), options.rounds)
    libraries = {target_from_name(model.manifest.target).runtime.library for model in models}
    if options.peer:
        libraries.add("openvino")
    lengths = [feature.length for feature in features]
    print(f"{len(lengths)} inputs of {np.mean(lengths):.1f} tokens on average, at most {max(lengths)}\n")
    print_table(cases, times, len(features))
    print(f"\n{beside_the_next(cases, times)}")
    if options.out:
        document = {
            **run_facts(*libraries, threads=options.threads),
            "inputs": {"count": len(lengths), "mean": float(np.mean(lengths)), "longest": max(lengths)},
            "row_length": {path.name: model.row_length for path, model in zip(options.artefact, models, strict=True)},
            "batch": options.batch,
            "rounds": options.rounds,
            "seconds": times,
            "shapes": {name: shapes_of(case.way) for name, case in cases.items()},
        }
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
