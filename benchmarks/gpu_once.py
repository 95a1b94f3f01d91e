"""Target `cuda` on an NVIDIA GPU that is at hand for minutes only: answers first, then times. Needs no network.

    python benchmarks/gpu_prepare.py DATA                       (anywhere, before: what the run needs)
    python benchmarks/gpu_once.py DATA --out OUT [--parts PARTS] [--rounds 30] [--tiny]
    python benchmarks/gpu_judge.py DATA OUT                     (anywhere, behind it: accuracy and the page)

DATA has plans of trained checkpoints with their texts, and plans of BERT's dimensions whose weights are drawn at random
here. `answers` writes what the engine gives for each text, which gpu_judge compares with the float model's. `speed`
compares INT8 mode 1, mode 2 and FP8 with torch in FP16 (bert_in_torch.py; every way in turn, CUDA graphs, medians of
rounds, milliseconds by CUDA events). `steps` times the engine's kernels one by one; `sparse` a 2:4 product of
cuSPARSELt beside our dense one; `large` BERT-Large at SQuAD's lengths; `relative`, which has to be asked for, writes
the answers of a ModernBERT, an MPNet and a DeBERTa (gpu_prepare's --only) and times their kernels. What fails is
written down with its reason, and the run goes on. --tiny is a rehearsal on a CPU, in Triton's interpreter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import triton

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bertc.core.batch import batch_from_features
from bertc.core.feature import Feature
from bertc.runtime.cuda.cuda_engine import CudaEngine
from bertc.runtime.cuda.summed_norms import SummedNorm
from bertc.runtime.cuda.texts import Texts, texts_of_lengths
from bertc.runtime.cuda.tuning import Tuner, Way
from bertc.runtime.plan.kernel_plan import Op, Plan, plan_from_json
from bertc.runtime.plan.plan_files import read_plan

TRAINED = ("minilm-sst2", "minilm-squad")
VARIANTS = {"mode 1": ("mode1", "int8"), "mode 2": ("mode2", "int8"), "fp8": ("mode1", "fp8")}
RELATIVE = ("modernbert", "mpnet", "deberta-v2")
SHAPES = {"1x32": [32], "8x128": [128] * 8, "32x128": [128] * 32, "32x384": [384] * 32}
BATCH = 128
WARMERS = 14
WEIGHT_SPREAD = 30.0
"""Standard deviation of random codes: about that of trained weights per channel."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for, and what was found so far."""

    data: Path
    out: Path
    rounds: int
    tiny: bool
    shapes: Sequence[str]
    found: Figures

    def part(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure something, and keep it or the reason why there is none."""
        begin = time.perf_counter()
        try:
            self.found[name] = measure()
        except Exception:  # noqa: BLE001  # the GPU is there for minutes: the other parts go on
            self.found[name] = {"failed": traceback.format_exc(limit=6)}
            print(self.found[name]["failed"], file=sys.stderr)
        self.found.setdefault("seconds", {})[name] = round(time.perf_counter() - begin, 1)
        print(f"{name}: {json.dumps(self.found[name])[:1500]}", flush=True)
        (self.out / "gpu-once.json").write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")


def features_of(path: Path, most: int | None = None) -> list[Feature]:
    """Read texts: their ids, types and lengths."""
    with np.load(path) as texts:
        ends = np.cumsum(texts["lengths"])
        ids, types = (np.split(texts[name].astype(np.int64), ends[:-1]) for name in ("ids", "types"))
    return [
        Feature(input_ids=ids_, token_type_ids=types_, row=row)
        for row, (ids_, types_) in enumerate(zip(ids, types, strict=True))
    ][:most]


def plan_of(folder: Path) -> tuple[Plan, dict[str, Any]]:
    """Read a plan, and draw the weights that a plan of dimensions alone lacks."""
    if (folder / "native.json").exists():
        plan, arrays = read_plan(folder / "native.json")
        return plan, dict(arrays)
    content = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    with np.load(folder / "small.npz") as small:
        arrays = {name.replace("|", "/"): small[name] for name in small.files}
    generator = np.random.default_rng(0)
    for name, (kind, shape, spread) in content["big"].items():
        drawn = generator.standard_normal(shape, np.float32) * spread
        arrays[name] = np.clip(np.rint(drawn), -127, 127).astype(kind) if kind == "|i1" else drawn.astype(kind)
    return plan_from_json(content["plan"]), arrays


def texts_of(lengths: Sequence[int], vocabulary: int) -> Texts:
    """Draw texts of these lengths."""
    ids = np.random.default_rng(len(lengths)).integers(0, vocabulary, sum(lengths)).astype(np.int32)
    return replace(texts_of_lengths(list(lengths)), ids=ids)


def engine_of(run: Run, model: str, variant: str) -> CudaEngine:
    """Open a variant of a model."""
    folder, precision = VARIANTS[variant]
    return CudaEngine(*plan_of(run.data / model / folder), precision=precision, tuned=run.out / "tuned.json")


def answers(run: Run, model: str, variant: str) -> Figures:
    """Write what the engine gives for every text, in the texts' order."""
    features = features_of(run.data / model / "texts.npz", 4 if run.tiny else None)
    engine = engine_of(run, model, variant)
    names = list(engine.outputs)
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    given: dict[int, list[Any]] = {}
    for start in range(0, len(order), BATCH):
        batch = batch_from_features(features, order[start : start + BATCH])
        values = engine.run(batch, names)
        for number, place in enumerate(batch.order):
            length = features[place].length
            given[place] = [
                value[number, :length] if engine.outputs[name].per_token else value[number]
                for name, value in zip(names, values, strict=True)
            ]
    arrays = {
        name: np.concatenate([np.atleast_1d(given[place][number]) for place in range(len(features))])
        for number, name in enumerate(names)
    }
    np.savez_compressed(run.out / f"answers-{model}-{variant.replace(' ', '')}.npz", **arrays)
    engine.close()
    return {"texts": len(features)}


def captured(way: Callable[[], object]) -> Callable[[], None]:
    """Return the replay of a way's CUDA graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            way()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        way()
    return graph.replay


def medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each way, all of them once a round, and the median ratios behind it."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, way in ways.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            way()
            end.record()
            end.synchronize()
            if number >= 3:
                times[name].append(begin.elapsed_time(end))
    return {name: round(median(each), 4) for name, each in times.items()}


def replays(engine: CudaEngine, texts: Texts) -> Callable[[], None]:
    """Return the replay of an engine's graph for texts."""
    ready = engine.prepared(texts)
    ready.on_device.copy_(ready.staged)
    engine.replay(ready)
    torch.cuda.synchronize()
    return lambda: engine.replay(ready)


def speed(run: Run, model: str, lengths: Sequence[int], *, rounds: int | None = None) -> Figures:
    """Time every variant and every way of torch's on texts of these lengths."""
    from bert_in_torch import ways_of_torch

    ways: dict[str, Callable[[], object]] = {}
    lacking: dict[str, str] = {}
    for variant in VARIANTS:
        try:
            engine = ENGINES.setdefault((model, variant), None) or engine_of(run, model, variant)
            ENGINES[model, variant] = engine
            ways[variant] = replays(engine, texts_of(lengths, 1000))
        except Exception as error:  # noqa: BLE001  # a way that fails is written down, and the others are timed
            lacking[variant] = repr(error)[:400]
    plan = plan_of_dimensions(run.data / model / "mode1")
    for name, way in ways_of_torch(lengths, **plan).items():
        try:
            ways[name] = captured(way)
        except Exception as error:  # noqa: BLE001  # a way that fails is written down, and the others are timed
            lacking[name] = repr(error)[:400]
            torch.cuda.synchronize()
    found = medians(ways, rounds or run.rounds)
    peer = min((time, name) for name, time in found.items() if name.startswith("torch"))
    ratios = {variant: round(peer[0] / found[variant], 3) for variant in VARIANTS if variant in found}
    measured = {
        name: [round(each, 5) for each in times]
        for engine in ENGINES.values()
        for name, times in engine.tuner.measured.items()
    }
    (run.out / "measured.json").write_text(json.dumps(measured, indent=0) + "\n", encoding="utf-8")
    return {"milliseconds": found, "fastest of torch": peer[1], "ratio over it": ratios, "lacking": lacking}


ENGINES: dict[tuple[str, str], Any] = {}


def plan_of_dimensions(folder: Path) -> dict[str, int]:
    """Read a model's dimensions off its plan."""
    path = folder / "native.json"
    text = (path if path.exists() else folder / "plan.json").read_text(encoding="utf-8")
    plan = plan_from_json(json.loads(text)["plan"])
    attention = [step for step in plan.steps if step.op is Op.ATTENTION]
    inner = max(step.n for step in plan.steps if step.op is Op.GEMM_INT8 and step.activation)
    return {"hidden": attention[0].n, "heads": attention[0].heads, "layers": len(attention), "inner": inner}


def steps(run: Run, model: str, variant: str, lengths: Sequence[int]) -> Figures:
    """Time the kernels one by one: a graph of each step alone, its launches 20 times in a row."""
    engine = ENGINES.setdefault((model, variant), None) or engine_of(run, model, variant)
    ENGINES[model, variant] = engine
    ready = engine.prepared(texts_of(lengths, 1000))
    ready.on_device.copy_(ready.staged)
    engine.replay(ready)
    found = {}
    for call in engine.calls:
        name = call.norm.name if isinstance(call, SummedNorm) else call.name
        if name.startswith("layer.1.") or not name.startswith("layer."):

            def launches(call: Any = call) -> None:
                for _ in range(20):
                    engine.launcher.launch(call, ready.buffers, ready.inputs)

            found[name] = round(medians({"": captured(launches)}, 5)[""] / 20 * 1000, 2)
            if isinstance(call, SummedNorm):

                def norms(call: Any = call) -> None:
                    between = ready.buffers[-1].view(torch.int8 if call.product.requant else torch.float16)
                    rows = between[: len(ready.inputs.ids), : call.norm.n]
                    for _ in range(20):
                        engine.launcher.norm_rows(call.norm, rows, ready.buffers, scale=None, product=call.product)

                found[f"{name} alone"] = round(medians({"": captured(norms)}, 5)[""] / 20 * 1000, 2)
    return found


def sparse(m: int, n: int, k: int) -> Figures:
    """Time a 2:4 INT8 product of cuSPARSELt (to FP16, its fastest algorithm), cuBLASLt's dense one and FP16's."""
    weights = torch.randint(-127, 128, (n, k), dtype=torch.int8, device="cuda")
    weights.view(n, k // 4, 4)[:, :, 2:] = 0
    a = torch.randint(-127, 128, (m, k), dtype=torch.int8, device="cuda")
    compressed = torch._cslt_compress(weights)
    algorithm = torch._cslt_sparse_mm_search(compressed, a.t(), out_dtype=torch.float16)
    half, halves = a.half(), weights.half()
    ways = {
        "2:4": lambda: torch._cslt_sparse_mm(compressed, a.t(), out_dtype=torch.float16, alg_id=algorithm),
        "cublas int8": lambda: torch._int_mm(a, weights.t()),
        "cublas fp16": lambda: half @ halves.t(),
    }
    return medians({name: captured(way) for name, way in ways.items()}, 20)


class Warming(Tuner):
    """Compiles its share of all ways, so that those that measure find them in Triton's cache."""

    def __init__(self, number: int) -> None:
        super().__init__(None)
        self.number = number

    def way(self, key: str, ways: Sequence[Way], launch: Callable[[Way], None]) -> Way:
        """Launch the ways that are this process's, and return one that works."""
        for way in ways:
            digest = hashlib.sha256(f"{key}{way}".encode()).digest()
            if digest[0] % WARMERS == self.number:
                try:
                    launch(way)
                except triton.runtime.errors.OutOfResources:
                    continue
        return ways[0]


def warm(run: Run, number: int) -> None:
    """Compile a share of the kernels."""
    for model, variants in (("base", VARIANTS), ("minilm-sst2", ("mode 1", "mode 2", "fp8"))):
        for variant in variants:
            engine = engine_of(run, model, variant)
            engine.launcher.tuner = Warming(number)
            for lengths in ([32], [128] * 3, [100] * 8, [400] * 2):
                ready = engine.prepared(texts_of(lengths, 1000))
                ready.on_device.copy_(ready.staged)
                engine.launch(ready)
            engine.close()


def warm_all(run: Run) -> list[int]:
    """Compile the kernels in as many processes as there are shares; returns their exit codes."""
    command = [sys.executable, __file__, str(run.data), "--out", str(run.out), "--warm"]
    children = [subprocess.Popen([*command, str(number)]) for number in range(WARMERS)]
    return [child.wait() for child in children]


def answer_all(run: Run) -> None:
    """Write the answers of all trained checkpoints that are there."""
    for model in TRAINED:
        for variant in VARIANTS:
            if (run.data / model).exists():
                run.part(f"answers {model} {variant}", partial(answers, run, model, variant))


def time_shapes(run: Run) -> None:
    """Time texts of one length."""
    for model in ("base", "minilm-sst2"):
        for name in run.shapes:
            run.part(f"speed {model} {name}", partial(speed, run, model, SHAPES[name]))


def time_ragged(run: Run) -> None:
    """Time real texts' lengths, without padding and padded."""
    for texts in TRAINED:
        lengths = [feature.length for feature in features_of(run.data / texts / "texts.npz", 256)]
        run.part(f"speed base lengths of {texts}", partial(speed, run, "base", lengths))
        run.part(f"speed base padded {texts}", partial(speed, run, "base", [max(lengths)] * len(lengths)))


def time_steps(run: Run) -> None:
    """Time the kernels of each variant."""
    for variant in VARIANTS:
        run.part(f"steps base {variant}", partial(steps, run, "base", variant, SHAPES["32x384"]))


def time_sparse(run: Run) -> None:
    """Time BERT-base's products at a small and a large batch."""
    for m in (1024, 12288):
        for n, k in ((2304, 768), (3072, 768), (768, 3072)):
            run.part(f"sparse {m}x{n}x{k}", partial(sparse, m, n, k))


def time_large(run: Run) -> None:
    """Time BERT-Large at SQuAD's lengths; samples a second are texts over time."""
    for engine in ENGINES.values():
        engine.close()
    ENGINES.clear()
    lengths = [feature.length for feature in features_of(run.data / "minilm-squad" / "texts.npz", 1280)]
    run.part(f"speed large {len(lengths)} texts", partial(speed, run, "large", lengths, rounds=7))


def answer_relative(run: Run) -> None:
    """Write the answers of models with other positions than BERT's, of those that are there, and time their kernels."""
    for name, variant in product(RELATIVE, VARIANTS):
        if (run.data / name).is_dir():
            run.part(f"answers {name} {variant}", partial(answers, run, name, variant))
            if not run.tiny:
                run.part(f"steps {name} {variant}", partial(steps, run, name, variant, SHAPES["32x384"]))


PARTS: dict[str, Callable[[Run], None]] = {
    "warm": lambda run: run.part("warm", partial(warm_all, run)),
    "answers": answer_all,
    "speed": time_shapes,
    "steps": time_steps,
    "sparse": time_sparse,
    "ragged": time_ragged,
    "large": time_large,
}
ASKED: dict[str, Callable[[Run], None]] = {"relative": answer_relative}  # only where it is named


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default=",".join(PARTS), help="in this order: %(default)s")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--warm", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = [(PARTS | ASKED)[part] for part in options.parts.split(",")]  # a misspelt one costs no time of a GPU
    run = Run(options.data, options.out, options.rounds, options.tiny, options.shapes.split(","), {})
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.data / "tuned.json").exists() and not (options.out / "tuned.json").exists():
        shutil.copy(options.data / "tuned.json", options.out)
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        sys.exit("this needs an NVIDIA GPU, or TRITON_INTERPRET=1 for a rehearsal")
    if options.warm is not None:
        warm(run, options.warm)
    else:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "interpreter"
        run.found["facts"] = {"device": device, "torch": torch.__version__, "triton": triton.__version__}
        for part in parts:
            part(run)


if __name__ == "__main__":
    main()
