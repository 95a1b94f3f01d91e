"""Early exit on real text: texts a second and accuracy over thresholds, and the same engine without exits, interleaved.

    bertc finetune CHECKPOINT --early-exit --train-data TRAIN ... -o TRAINED
    bertc build TRAINED --reference CHECKPOINT --exit-drop 0.005 ... -o ENGINE
    python benchmarks/early_exit.py ENGINE --data DEV.tsv [--column text=content] [--rounds 7] [--out FILE.json]

ENGINE is an artefact of the target native; its plan is opened once for each threshold, and once without exits: the same
products and arrays, no classifier but the last. A round runs every one over all texts, sorted by length into batches as
`bertc.load` does it; speeds are medians over rounds, ratios within a round, with quartiles, of the clock and of the
process's CPU time, which on a busy machine and with one thread says more. Tokenizing is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import heading, run_facts

import bertc
from bertc.core.exits import LAYERS
from bertc.core.feature import Feature
from bertc.data.dataset import dataset_from_path
from bertc.jobs.exit_threshold import values_of_texts
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Plan, names_of_arrays
from bertc.runtime.plan.plan_files import PLAN, read_plan

SECONDS_BETWEEN = 0.05
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WITHOUT = "without"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with bertc.load(options.engine, threads=options.threads) as model:
        columns = dict(each.split("=", 1) for each in options.column)
        dataset = dataset_from_path(options.data, layout=model.task.layout, columns=columns)
        rows = model.task.check_rows(dataset.rows, model.head)
        features = model.features_from_rows(rows)
        gold = model.task.gold(rows, model.head)
        chosen = model.manifest.exit_threshold
    assert chosen is not None, f"{options.engine} was built without early exit"
    plan, arrays = read_plan(options.engine / PLAN)
    plans = {WITHOUT: without_exits(plan)}
    plans |= {f"{each:g}": with_threshold(plan, each) for each in sorted({*THRESHOLDS, chosen})}
    engines = {
        name: NativeEngine(each, {key: arrays[key] for key in names_of_arrays(each.steps)}, threads=options.threads)
        for name, each in plans.items()
    }
    seconds = measure(engines, features, options.rounds)
    result: dict[str, Any] = {
        **run_facts(threads=options.threads),
        "texts": len(features),
        "tokens": int(sum(feature.length for feature in features)),
        "chosen": chosen,
        "rounds": options.rounds,
        "points": [point(name, engines[name], features, gold, seconds) for name in engines],
    }
    lines = page(result)
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def with_threshold(plan: Plan, threshold: float) -> Plan:
    """Return the plan with another threshold."""
    steps = (replace(step, epsilon=threshold) if step.op is Op.EXIT else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def without_exits(plan: Plan) -> Plan:
    """Return the plan without the exits and all that only they read."""
    outputs = tuple(output for output in plan.outputs if output.buffer != NO_BUFFER)
    wanted = {output.buffer for output in outputs}
    kept = []
    for step in reversed(plan.steps):
        if step.op is not Op.EXIT and wanted.intersection(step.written()):
            if step.out_codes in wanted and step.out not in wanted:  # a norm's numbers that only a mean was of
                step = replace(step, out=NO_BUFFER)
            wanted.difference_update(step.written())
            wanted.update(step.read())
            kept.append(step)
    return replace(plan, steps=tuple(reversed(kept)), outputs=outputs)


Seconds = dict[str, list[tuple[float, float]]]
"""Of every engine and round: by the clock, and of CPU time."""


def measure(engines: dict[str, NativeEngine], features: list[Feature], rounds: int) -> Seconds:
    """Run all texts through every engine in turn, round by round, after one run that is not timed."""
    found: Seconds = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name, engine in engines.items():
            time.sleep(SECONDS_BETWEEN)
            begin, used = time.perf_counter(), time.process_time()
            values_of_texts(engine, features, ("logits",))
            if number:
                found[name].append((time.perf_counter() - begin, time.process_time() - used))
    return found


def point(name: str, engine: NativeEngine, features: list[Feature], gold: Any, seconds: Seconds) -> dict[str, Any]:
    """Return what one threshold gives."""
    names = ("logits",) if name == WITHOUT else ("logits", LAYERS)
    logits, *layers = values_of_texts(engine, features, names)
    times = np.array(seconds[name])
    ratios = np.array(seconds[WITHOUT]) / times
    found: dict[str, Any] = {
        "threshold": None if name == WITHOUT else float(name),
        "texts_per_second": float(len(features) / np.median(times[:, 0])),
        "ratio": [float(each) for each in np.percentile(ratios[:, 0], (25, 50, 75))],
        "ratio_of_cpu_time": [float(each) for each in np.percentile(ratios[:, 1], (25, 50, 75))],
        "accuracy": float((logits.argmax(-1) == gold).mean()),
    }
    if layers:
        counts = np.bincount(layers[0].astype(int))[1:]
        found |= {"layers": float(layers[0].mean()), "left_behind": counts.tolist()}
    return found


def page(result: dict[str, Any]) -> list[str]:
    """Return the result as Markdown."""
    rows = [*heading(f"Early exit: {result['texts']} texts, {result['tokens']} tokens", result)]
    rows += [
        "| threshold | texts/s | times without (quartiles) | of CPU time | accuracy | layers | left behind 1, 2, ... |"
    ]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for each in result["points"]:
        ratio, of_cpu = (
            f"{m:.2f} ({low:.2f} to {high:.2f})" for low, m, high in (each["ratio"], each["ratio_of_cpu_time"])
        )
        name = "without" if each["threshold"] is None else f"{each['threshold']:g}"
        name += " (built)" if each["threshold"] == result["chosen"] else ""
        layers = f"{each['layers']:.2f}" if "layers" in each else ""
        left = ", ".join(map(str, each.get("left_behind", ())))
        speed = f"{each['texts_per_second']:.0f} | {ratio} | {of_cpu}"
        rows.append(f"| {name} | {speed} | {each['accuracy']:.4f} | {layers} | {left} |")
    return rows


if __name__ == "__main__":
    main()
