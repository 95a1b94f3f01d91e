"""Where an engine's time goes: milliseconds by kind of operator, of artefacts that run on the CPU.

    bertc build CHECKPOINT ... --target ort-cpu -o ORT
    bertc build CHECKPOINT ... --target openvino -o OV
    bertc build CHECKPOINT ... --target native -o NATIVE
    python benchmarks/operators.py --artefact NATIVE --artefact OV --artefact ORT [--shape 16x128] [--runs 20] \\
      [--out FILE.json]

The runtimes' own profilers, which cost time themselves: compare the parts with each other, and whole models with
`bertc bench`. Figures are medians over the runs; text is of random tokens without padding. Kinds are the runtimes'
names: `QAttention` is three GEMMs, their quantization and the attention; `Subgraph` is OpenVINO's fused attention.

The native engine's kinds are kernels, and the values of the graph that they write: the time that its threads were in
them, divided by the number of threads. What a call takes beside that is `waiting`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import heading, run_facts

from bertc.checkpoint.config_json import config_from_path
from bertc.core.batch import Batch
from bertc.jobs.engine_choice import chosen_engine
from bertc.jobs.predict import verified_manifest
from bertc.runtime.latency import full_batch
from bertc.runtime.machine.cpu import usable_cores
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.openvino.compiled_model import Precision, compile_options, openvino_core
from bertc.runtime.ort.inference_session import session_options
from bertc.runtime.plan.kernel_plan import Op, Rows, Step
from bertc.runtime.plan.plan_files import PLAN, read_plan
from bertc.targets import target_from_name

WARM = 3
SHAPES = "1x32,1x128,16x128,8x384"
LEAST_SHARE = 0.01
"""Kinds below this part of the whole are added up."""

WAITING = "waiting"
LAYER = re.compile(r"^layer\.\d+\.")


def ort_milliseconds(model: Path, batch: Batch, runs: int) -> dict[str, float]:
    """Return milliseconds per run by kind of node, from ONNX Runtime's profile."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = session_options(0)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        feeds = batch.feeds([value.name for value in session.get_inputs()])
        for _ in range(WARM + runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    turns = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            turns[event["name"], event["args"]["op_name"]].append(event["dur"] / 1e3)
    totals: Counter[str] = Counter()
    for (_, kind), milliseconds in turns.items():
        totals[kind] += median(milliseconds[WARM:])
    return dict(totals)


def openvino_milliseconds(model: Path, batch: Batch, runs: int, precision: Precision) -> dict[str, float]:
    """Return milliseconds per run by kind and precision of node, from OpenVINO's performance counts."""
    core = openvino_core()
    options = {**compile_options(0, precision), "PERF_COUNT": True}
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    feeds = batch.feeds([value.any_name for value in compiled.inputs])
    turns: dict[str, list[float]] = defaultdict(list)
    for _ in range(WARM + runs):
        request.infer(feeds, share_inputs=True)
        now: Counter[str] = Counter()
        for node in request.get_profiling_info():
            now[f"{node.node_type} {node.exec_type.rsplit('_', 1)[-1]}"] += node.real_time.total_seconds() * 1e3
        for kind, milliseconds in now.items():
            turns[kind].append(milliseconds)
    return {kind: median(milliseconds[WARM:]) for kind, milliseconds in turns.items()}


def native_milliseconds(model: Path, batch: Batch, runs: int) -> dict[str, float]:
    """Return milliseconds per run by kind of step, and what the threads waited for each other and for work."""
    plan, arrays = read_plan(model)
    engine = NativeEngine(plan, arrays)
    turns, walls = [], []
    for _ in range(WARM + runs):
        begin = time.perf_counter()
        turns.append(engine.nanoseconds(batch))
        walls.append(1e3 * (time.perf_counter() - begin))
    engine.close()
    totals: Counter[str] = Counter()
    steps = np.median(turns[WARM:], axis=0) / 1e6 / usable_cores()
    for step, milliseconds in zip(plan.steps, steps.tolist(), strict=True):
        totals[kind_of(step)] += milliseconds
    totals[WAITING] = median(walls[WARM:]) - sum(totals.values())
    return dict(totals)


def native_products(model: Path, batch: Batch) -> dict[str, int]:
    """Return by kind of step how many products the native engine computes, of texts without padding."""
    texts, length = batch.input_ids.shape
    totals: Counter[str] = Counter()
    for step in read_plan(model)[0].steps:
        rows = texts * length if step.rows is Rows.TOKENS else texts
        if step.op in (Op.GEMM_INT8, Op.GEMM_F32):
            totals[kind_of(step)] += rows * step.k * step.n
        elif step.op is Op.ATTENTION:
            totals[kind_of(step)] += 2 * rows * length * step.n
    return dict(totals)


def speeds(profiles: Mapping[str, Mapping[str, float]], products: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return 10^9 products per second by kind as a Markdown table."""
    lines = ["", "10^9 products per second:", ""]
    lines += [f"| | {' | '.join(profiles)} |", "| --- " * (len(profiles) + 1) + "|"]
    for kind in next(iter(products.values())):
        cells = [f"{products[shape][kind] / found[kind] / 1e6:.0f}" for shape, found in profiles.items()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    whole = [sum(products[shape].values()) / sum(found.values()) / 1e6 for shape, found in profiles.items()]
    return [*lines, f"| all, in the time of all steps | {' | '.join(f'{value:.0f}' for value in whole)} |"]


def kind_of(step: Step) -> str:
    """Return a step's kernel and the value that it writes, without the number of its layer."""
    names = [LAYER.sub("", name) for name in step.name.split("+")]
    return f"{step.op.name.lower()} {'+'.join(names)}"


def milliseconds_of(folder: Path, batch: Batch, runs: int) -> dict[str, float]:
    """Profile an artefact's engine."""
    name = verified_manifest(chosen_engine(folder)).target
    model = folder / target_from_name(name).runtime.model_files[0]
    if name.startswith("openvino"):
        return openvino_milliseconds(model, batch, runs, "bf16" if name == "openvino-bf16" else "f32")
    if name == "native":
        return native_milliseconds(model, batch, runs)
    if name in ("ort-cpu", "ort-cpu-dynamic", "float"):
        return ort_milliseconds(model, batch, runs)
    raise SystemExit(f"{folder} is of the target {name}, which does not run on the CPU")


def table(profiles: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return one engine's profiles by shape as a Markdown table, the largest kinds first."""
    totals = {shape: sum(found.values()) for shape, found in profiles.items()}
    shares: dict[str, float] = defaultdict(float)
    for shape, found in profiles.items():
        for kind, milliseconds in found.items():
            shares[kind] = max(shares[kind], milliseconds / totals[shape])
    large = [kind for kind in sorted(shares, key=lambda kind: -shares[kind]) if shares[kind] >= LEAST_SHARE]
    rows = [(kind, [found.get(kind, 0.0) for found in profiles.values()]) for kind in large]
    counted = [sum(found.get(kind, 0.0) for kind in large) for found in profiles.values()]
    rows.append(("others", [total - part for total, part in zip(totals.values(), counted, strict=True)]))
    rows.append(("all", list(totals.values())))
    lines = [f"| | {' | '.join(profiles)} |", "| --- " * (len(profiles) + 1) + "|"]
    for kind, figures in rows:
        cells = [f"{value:.3g} ({value / totals[shape]:.0%})" for value, shape in zip(figures, profiles, strict=True)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def page(document: Mapping[str, Any]) -> str:
    """Return all profiles as Markdown."""
    lines = heading("Time by operator", dict(document))
    lines += ["Milliseconds of a batch (part of the whole); the runtimes' profilers cost time themselves.", ""]
    for name, profiles in document["profiles"].items():
        lines += [f"## {name}", "", *table(profiles), ""]
        if name in document["products"]:
            lines += [*speeds(profiles, document["products"][name]), ""]
    return "\n".join(lines)


def main() -> None:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="a folder, repeatable")
    parser.add_argument("--shape", default=SHAPES, help="batch x length, by commas")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="a JSON file; the table lies beside it")
    options = parser.parse_args()
    profiles: dict[str, dict[str, dict[str, float]]] = {}
    products: dict[str, dict[str, dict[str, int]]] = {}
    for folder in options.artefact:
        vocabulary = int(config_from_path(folder)["vocab_size"])
        profiles[str(folder)] = {}
        for shape in options.shape.split(","):
            rows, length = map(int, shape.split("x"))
            batch = full_batch(rows, length, vocabulary)
            profiles[str(folder)][shape] = milliseconds_of(folder, batch, options.runs)
            if (folder / PLAN).exists():
                products.setdefault(str(folder), {})[shape] = native_products(folder / PLAN, batch)
    document = {**run_facts("openvino"), "runs": options.runs, "profiles": profiles, "products": products}
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(page(document), encoding="utf-8")
    print(page(document))


if __name__ == "__main__":
    main()
