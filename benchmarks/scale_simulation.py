"""What a plan on paper needs: replicas for so many texts a second, by a model that first gives what was measured.

    python benchmarks/scale_simulation.py [--seconds 30] [--out FILE.md]

The constants are those of files in benchmarks/results, which the page names one by one. The model of a replica
(benchmarks/replica_model.py) is set by them and compared with the lines of a load that was measured; then it says how
busy replicas can be, one and many behind a router, and what that makes for a million texts a second. docs/scale.md has
the page, and what it leaves out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from replica_model import Costs, Load, Policy, at_random, in_turn, less_of_two, simulated

RESULTS = Path(__file__).with_name("results")
SERVING, SPEED = RESULTS / "serving-scale-epyc-vnni.json", RESULTS / "scaling-epyc-vnni.json"
LENGTHS = (4, 10, 12, 14, 16, 17, 19, 20, 22, 23, 25, 26, 27, 29, 31, 32, 35, 37, 40, 44, 60)
"""Tokens of SST-2's dev texts, special ones included: every twentieth of the 872 in order; 25 on average."""

SPREAD = 0.2
"""Of an engine's times: half of the middle half is 13 % of the median (peers-native-epyc-vnni.md, latency)."""

POLICY = Policy(batch_tokens=256, waiting_seconds=0.008)
"""What was measured and is planned with: a request may wait for a full batch, of 7.2 ms, that has just begun."""

GOAL, TEXTS = 1_000_000, 32
SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
REPLICAS = (1, 4, 16)
ROUTES = {"at random": at_random, "in turn": in_turn, "the less busy of two": less_of_two}


@dataclass(frozen=True)
class Measured:
    """What a load test of one replica gave: its lines, each with its own limit of a good answer, and its capacity."""

    lines: Sequence[dict[str, Any]]
    capacity: float

    @property
    def limit(self) -> float:
        """The limit of a good answer in seconds: the middle one of the lines'."""
        return float(np.median([line["limit_ms"] for line in self.lines])) / 1e3


def measured_load(path: Path = SERVING) -> Measured:
    """Read the lines of `bertc serve` in a result of benchmarks/serving.py."""
    document = json.loads(path.read_text(encoding="utf-8"))
    lines = [line for line in document["load"] if line["server"] == "bertc"]
    return Measured(lines, document["capacity"]["bertc"])


def engine_costs(path: Path = SPEED, engine: str = "native") -> tuple[float, float]:
    """Return seconds of a batch and of a token: a line through batches of texts of 32 tokens, by relative error."""
    table = json.loads(path.read_text(encoding="utf-8"))["batch"]
    texts = np.array(table["x"], float)
    seconds = np.array(table["y"][engine]) * texts / 1e3
    rows = np.stack([1 / seconds, 32 * texts / seconds], axis=1)
    batch, token = np.linalg.lstsq(rows, np.ones(len(texts)), rcond=None)[0]
    return float(batch), float(token)


def fitted_costs(measured: Measured, engine: tuple[float, float], *, seconds: float) -> Costs:
    """Return a replica's costs: a request's from the capacity, a refusal's from the highest load, and the wake's.

    The capacity was measured with batches of 1,024 tokens. What an idle server takes to notice a request is what the
    median of the lowest load has beyond the model without it.
    """
    batch, token = engine
    mean = float(np.mean(LENGTHS))
    bare = Costs(batch=batch, token=token, request=0.0, spread=SPREAD)
    request = 1 / measured.capacity - 1 / bare.capacity(mean, 1024)
    costs = replace(bare, request=request)
    highest, lowest = measured.lines[-1], measured.lines[0]
    busy = highest["answered"] / costs.capacity(mean, POLICY.batch_tokens)
    costs = replace(costs, refusal=(1 - busy) / highest["refused"])
    load = Load(rate=lowest["sent"], lengths=LENGTHS, seconds=seconds)
    without = simulated(costs, POLICY, load, limit=measured.limit).percentile(50) / 1e3
    return replace(costs, wake=max(0.0, lowest["p50_ms"] / 1e3 - without))


def compared(measured: Measured, costs: Costs, *, seconds: float) -> Iterator[dict[str, float]]:
    """Give each measured line beside what the model says of the same load."""
    for line in measured.lines:
        load = Load(rate=line["sent"], lengths=LENGTHS, seconds=seconds)
        found = simulated(costs, POLICY, load, limit=line["limit_ms"] / 1e3)
        yield {
            "rate": line["sent"],
            "share": line["sent"] / measured.capacity,
            "good": line["goodput"],
            "good_model": found.good,
            "p50": line["p50_ms"],
            "p50_model": found.percentile(50),
            "p99": line["p99_ms"],
            "p99_model": found.percentile(99),
        }


def planned(costs: Costs, limit: float, *, seconds: float) -> Iterator[dict[str, Any]]:
    """Give refusals and p99 of replicas behind a router, by their number, the router's way and how busy they are."""
    top = costs.capacity(float(np.mean(LENGTHS)), POLICY.batch_tokens)
    for replicas in REPLICAS:
        for name, route in ROUTES.items():
            for share in SHARES:
                load = Load(rate=share * top * replicas, lengths=LENGTHS, seconds=seconds)
                found = simulated(costs, POLICY, load, limit=limit, replicas=replicas, route=route)
                yield {
                    "replicas": replicas,
                    "route": name,
                    "share": share,
                    "good": found.good / found.sent,
                    "p99": found.percentile(99),
                }
            if replicas == 1:
                break


def for_goal(costs: Costs) -> Iterator[tuple[str, int, int, int]]:
    """Give what a million texts a second take: of whom, and replicas, their cores, machines of 64 cores."""
    mean = float(np.mean(LENGTHS))
    shared = replace(costs, request=costs.request / TEXTS)
    for what, top, share in (
        ("a text a request, router in turn or less busy of two", costs.capacity(mean, POLICY.batch_tokens), 0.8),
        ("the same, router at random", costs.capacity(mean, POLICY.batch_tokens), 0.6),
        (f"{TEXTS} texts a request, batches of 1,024 tokens", shared.capacity(mean, 1024), 0.8),
    ):
        replicas = math.ceil(GOAL / (top * share))
        yield f"{what} ({share:.0%})", replicas, 2 * replicas, math.ceil(2 * replicas / 64)


def page(measured: Measured, costs: Costs, *, seconds: float) -> list[str]:
    """Return the tables in Markdown."""
    mean = float(np.mean(LENGTHS))
    lines = [
        f"A batch {costs.batch * 1e3:.2f} ms and {costs.token * 1e6:.1f} µs a token ({SPEED.name}); a request "
        f"{costs.request * 1e3:.2f} ms, a refusal {costs.refusal * 1e3:.2f} ms, an idle server's wake "
        f"{costs.wake * 1e3:.1f} ms ({SERVING.name}).",
        "",
        "| requests a second | of the capacity | good | model | p50, ms | model | p99, ms | model |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells = "{rate:.0f} {share:.0%} {good:.0f} {good_model:.0f} {p50:.1f} {p50_model:.1f} {p99:.1f} {p99_model:.1f}"
    rows = compared(measured, costs, seconds=seconds)
    lines += [f"| {' | '.join(cells.format(**row).split())} |" for row in rows]
    top = costs.capacity(mean, POLICY.batch_tokens)
    lines += [
        "",
        f"A replica of two cores answers {top:.0f} texts a second in full batches of {POLICY.batch_tokens}.",
        "",
    ]
    heads = " | ".join(f"{share:.0%}" for share in SHARES)
    lines += [f"| replicas, router | {heads} |", "| --- |" + " --- |" * len(SHARES)]
    routed: dict[tuple[int, str], list[str]] = {}
    for each in planned(costs, measured.limit, seconds=seconds):
        cell = f"{each['p99']:.0f} ms, {each['good']:.1%}"
        routed.setdefault((each["replicas"], each["route"]), []).append(cell)
    lines += [f"| {count}, {name} | {' | '.join(found)} |" for (count, name), found in routed.items()]
    lines += ["", "| | replicas | cores | machines of 64 cores |", "| --- | --- | --- | --- |"]
    lines += [f"| {what} | {' | '.join(f'{number:,}' for number in numbers)} |" for what, *numbers in for_goal(costs)]
    return lines


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated seconds of each load")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    measured = measured_load()
    costs = fitted_costs(measured, engine_costs(), seconds=options.seconds)
    lines = page(measured, costs, seconds=options.seconds)
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
