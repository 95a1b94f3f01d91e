"""The parts of the benchmark. Each opens its engines, lets them take turns, and returns figures by engine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from build import RECORD
from engines import YARDSTICKS, Engine
from environments import HERE, REQUIREMENTS, ROOT, LackError, environment_variables, python_of
from turns import FailedError, Process, last_line, shapes_text, timed_shape, timed_stream

from bertc.checkpoint import Checkpoint
from bertc.core.outputs import output_names
from bertc.data.encoded import Encoded
from bertc.evaluate.scores import compare_outputs
from bertc.graph.encoder import graph_from_checkpoint
from bertc.runtime.engine import outputs_from_features
from bertc.targets import target_from_name
from bertc.tasks import task_from_name

Figures = dict[str, Any]
WARM_TEXTS = 64
ORDERS = ("arrival", "sorted")


@dataclass(kw_only=True)
class Benchmark:
    """What all parts share. `failed` says why an engine has no figures; it grows as engines fail."""

    checkpoint: Checkpoint
    engines: Sequence[Engine]
    work: Path
    environments: Path
    inputs: Path
    calibration: Mapping[str, Any]
    digest: str
    threads: int
    rounds: int
    failed: dict[str, str] = field(default_factory=dict)

    def folder(self, engine: Engine) -> Path:
        """Return where a model lies: by all that it is made from, so that an interrupted run goes on where it was."""
        builder = HERE / f"{engine.model.split(':')[0]}.py"
        wanted = dict.fromkeys(REQUIREMENTS[name] for name in (engine.python, engine.runs_in))
        sources = [builder, *(HERE / name for name in (*wanted, "checkpoints.py"))]
        sources += sorted((ROOT / "bertc").rglob("*.py")) if engine.tool == "bertc" else []
        sha = hashlib.sha256(self.digest.encode())
        for path in sources:
            sha.update(path.read_bytes())
        return self.work / "models" / sha.hexdigest()[:12] / engine.built

    def build(self, engine: Engine) -> Figures:
        """Build an engine's model unless it is there; returns seconds, peak MiB and bytes. Raises `FailedError`."""
        folder = self.folder(engine)
        if not (folder / RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder.parent / "calibration.json").write_text(json.dumps(self.calibration), encoding="utf-8")
            wanted = {
                "model": engine.model,
                "arguments": engine.arguments,
                "checkpoint": str(self.checkpoint.path),
                "folder": str(folder),
                "inputs": str(self.inputs),
            }
            log = folder.with_suffix(".log")
            with log.open("w", encoding="utf-8") as said:
                done = subprocess.run(
                    [str(self._python(engine)), str(HERE / "build.py"), json.dumps(wanted)],
                    stdout=said,
                    stderr=said,
                    env=environment_variables(self.threads),
                    check=False,
                )
            if done.returncode:
                raise FailedError(last_line(log))
        record: Figures = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {**record, "bytes": model_bytes(folder, engine)}

    @contextmanager
    def opened(self, engines: Sequence[Engine]) -> Iterator[dict[str, Process]]:
        """Open engines, each in a process; those that cannot be are left out and stand in `failed`."""
        with ExitStack() as stack:
            found = {}
            for engine in engines:
                if engine.name in self.failed:
                    continue
                try:
                    self.build(engine)
                    found[engine.name] = self._process(engine)
                except FailedError as error:
                    self.fail({engine.name: str(error)})
                else:
                    stack.callback(found[engine.name].close)
            yield found

    def fail(self, reasons: Mapping[str, str]) -> None:
        """Remember engines that failed, and say so."""
        for name, reason in reasons.items():
            print(f"{name}: {reason}", flush=True)
        self.failed.update(reasons)

    def _process(self, engine: Engine) -> Process:
        wanted = {
            "kind": engine.kind,
            "folder": str(self.folder(engine)),
            "checkpoint": str(self.checkpoint.path),
            "inputs": str(self.inputs),
            "options": engine.options,
            "threads": self.threads,
        }
        return Process(self._python(engine, run=True), wanted, self.work / f"{engine.name.replace(' ', '-')}.log")

    def _python(self, engine: Engine, *, run: bool = False) -> Path:
        """Return the interpreter that builds a model, or runs it."""
        try:
            return python_of(engine.runs_in if run else engine.python, self.environments)
        except LackError as error:
            raise FailedError(str(error)) from error


def model_bytes(folder: Path, engine: Engine) -> int | None:
    """Return the size of the files that an engine opens; None where its model is made when it is opened."""
    if engine.tool == "bertc":
        files = target_from_name(engine.arguments["target"]).runtime.model_files
        return sum((folder / "out" / name).stat().st_size for name in files)
    suffixes = (".onnx", ".xml", ".bin", ".data", ".gguf", ".npz")
    found = [path.stat().st_size for path in folder.rglob("*") if path.suffix in suffixes]
    return sum(found) if found else None


def build_part(bench: Benchmark) -> Figures:
    """Build everything."""
    found: Figures = {}
    for engine in bench.engines:
        try:
            found[engine.name] = bench.build(engine)
            print(f"{engine.name}: built in {found[engine.name]['seconds']:.1f} s", flush=True)
        except FailedError as error:
            bench.fail({engine.name: str(error)})
    return found


def latency_part(bench: Benchmark, shapes: Sequence[tuple[int, int]]) -> Figures:
    """Time every shape, and in the same rounds what the cores reach at most.

    Returns `latency`: shape -> engine -> milliseconds per round; `yardsticks`: the same; `memory`: engine -> MiB when
    it was opened and after all shapes.
    """
    times: Figures = {}
    yardsticks: Figures = {}
    names = {yardstick.name for yardstick in YARDSTICKS}
    engines = [engine for engine in bench.engines if not engine.streams_only]
    with bench.opened([*engines, *YARDSTICKS]) as processes:
        for shape in shapes_text(shapes):
            found, failed = timed_shape(processes, shape, bench.rounds)
            yardsticks[shape] = {name: found.pop(name) for name in names & set(found)}
            times[shape] = found
            bench.fail(failed)
            processes = {name: process for name, process in processes.items() if name not in failed}
            print(f"{shape}: {len(found)} engines", flush=True)
        memory = {
            name: {"opened_mib": process.opened["peak_mib"], "open_seconds": process.opened["open_seconds"]}
            | process.ask("memory")
            for name, process in processes.items()
            if name not in names
        }
    return {"latency": times, "yardsticks": yardsticks, "memory": memory, "rounds": bench.rounds}


def throughput_part(bench: Benchmark, texts: Mapping[str, Sequence[int]], batches: Sequence[int]) -> list[Figures]:
    """Time whole texts; `texts` are lengths by name. Returns a figure per text, batch and order.

    Both orders of a text are timed in the same rounds, so that ratios between them are within a round as well. Texts
    that come one at a time are not sorted.
    """
    found = []
    with bench.opened(bench.engines) as processes:
        for text, lengths in texts.items():
            for batch in batches:
                orders = ORDERS if batch > 1 else ORDERS[:1]
                figures, failed = timed_stream(processes, text, batch, orders, bench.rounds, WARM_TEXTS)
                bench.fail(failed)
                processes = {name: kept for name, kept in processes.items() if name not in failed}
                for order, seconds in figures.items():
                    facts = {
                        "texts": len(lengths),
                        "tokens": sum(lengths),
                        "padded": padded_tokens(lengths, batch, order),
                    }
                    found.append({"text": text, "batch": batch, "order": order, **facts, "seconds": seconds})
                print(f"{text}, batch {batch}: {len(processes)} engines", flush=True)
    return found


def padded_tokens(lengths: Sequence[int], batch: int, order: str) -> int:
    """Count tokens with the padding to the longest of each batch."""
    ordered = list(lengths) if order == "arrival" else sorted(lengths)
    parts = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    return sum(max(part) * len(part) for part in parts)


def accuracy_part(bench: Benchmark, validation: Encoded) -> Figures:
    """Compare every engine's outputs with the float model's, row by row."""
    checkpoint = bench.checkpoint
    head, task = checkpoint.head, task_from_name(checkpoint.head.task)
    outputs_of_task = task.outputs(head)
    per_token = any(output.per_token for output in outputs_of_task if output.read)
    reference = float_outputs(bench, validation)
    found: Figures = {}
    for engine in bench.engines:
        if engine.streams_only:
            continue
        with bench.opened([engine]) as processes:
            if engine.name not in processes:
                continue
            out = bench.work / f"outputs-{os.getpid()}.npz"
            try:
                processes[engine.name].ask("outputs", text="validation", out=str(out), per_token=per_token)
            except FailedError as error:
                bench.fail({engine.name: str(error)})
                continue
        outputs = read_outputs(out, output_names(outputs_of_task), len(validation.features))
        out.unlink()
        score = compare_outputs(task, head, validation.rows, validation.features, reference, outputs).accuracy
        found[engine.name] = score.as_dict()
        print(f"{engine.name}: {score.metric} {score.engine:.4f}, agreement {score.agreement}", flush=True)
    return found


def float_outputs(bench: Benchmark, validation: Encoded) -> Any:
    """Run bertc's float engine over the validation data."""
    target = target_from_name("float")
    folder = bench.work / "float"
    folder.mkdir(exist_ok=True)
    model = target.runtime.write_model(target.onnx_from_graph(graph_from_checkpoint(bench.checkpoint)), folder)
    engine = target.runtime.engine_from_path(model, threads=bench.threads)
    try:
        return outputs_from_features(engine, validation.features, bench.checkpoint.head)
    finally:
        engine.close()


def read_outputs(path: Path, names: Sequence[str], rows: int) -> dict[str, list[Any]]:
    """Read what a worker's `outputs` wrote."""
    with np.load(path) as arrays:
        return {name: [arrays[f"{place}.{row}"] for row in range(rows)] for place, name in enumerate(names)}
