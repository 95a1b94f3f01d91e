"""What the runtimes' options do to an engine: times as ratios to the way bertc opens it, interleaved.

    bertc build CHECKPOINT ... --target ort-cpu -o ORT
    bertc build CHECKPOINT ... --target openvino -o OV
    python benchmarks/options.py --artefact ORT --artefact OV [--shape 16x128] [--rounds 15] [--out FILE.json]

A ratio above 1 means slower than bertc's own choice; medians over rounds of the ratio within a round. `error` is the
largest difference of an output from bertc's own choice. Where an engine keeps what it compiled, see `bertc.load`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from machine import heading, run_facts

from bertc.checkpoint.config_json import config_from_path
from bertc.core.batch import Batch
from bertc.core.outputs import output_names
from bertc.jobs.engine_choice import chosen_engine
from bertc.jobs.predict import predictor_from_path, verified_manifest
from bertc.runtime.latency import full_batch, repeated, time_calls
from bertc.runtime.openvino.compiled_model import compile_options, openvino_core
from bertc.runtime.ort.inference_session import session_options
from bertc.targets import target_from_name

SHAPES = "1x32,1x128,16x128,8x384"
OWN = "as bertc opens it"
ORT_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    OWN: {},
    "memory pattern on": {"enable_mem_pattern": True},
    "arena off": {"enable_cpu_mem_arena": False},
    "threads do not spin": {"config": {"session.intra_op.allow_spinning": "0"}},
    "weights not prepacked": {"config": {"session.disable_prepacking": "1"}},
    "denormals as zero": {"config": {"session.set_denormal_as_zero": "1"}},
    "inputs and outputs bound": {"bound": True},
}
OPENVINO_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    OWN: {},
    "BF16 hint": {"INFERENCE_PRECISION_HINT": "bf16"},
    "no hints": {},
    "throughput hint": {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "AUTO"},
    "threads pinned": {"ENABLE_CPU_PINNING": True},
}
Run = Callable[[Batch], Any]


def ort_engine(model: Path, output: str, variant: Mapping[str, Any]) -> Run:
    """Open a session with the options that bertc sets, changed by a variant."""
    import onnxruntime as ort

    options = session_options(0)
    for name in variant.keys() & {"enable_mem_pattern", "enable_cpu_mem_arena"}:
        setattr(options, name, variant[name])
    for key, value in variant.get("config", {}).items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    if not variant.get("bound"):
        return lambda batch: session.run([output], batch.feeds(names))[0]

    def run(batch: Batch) -> Any:
        binding = session.io_binding()
        for name, values in batch.feeds(names).items():
            binding.bind_cpu_input(name, values)
        binding.bind_output(output)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return run


def openvino_engine(model: Path, output: str, name: str, variant: Mapping[str, Any]) -> Run:
    """Compile with the options that bertc sets, changed by a variant; one request."""
    options = {} if name == "no hints" else {**compile_options(0, "f32"), **variant}
    core = openvino_core()
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    names = [value.any_name for value in compiled.inputs]

    def run(batch: Batch) -> Any:
        request.infer(batch.feeds(names), share_inputs=True)
        return np.array(request.get_tensor(output).data)

    return run


def ratios_of(folder: Path, shapes: list[tuple[int, int]], rounds: int) -> dict[str, dict[str, Any]]:
    """Return variant -> shape -> ratio, and the largest difference of its outputs."""
    name = verified_manifest(chosen_engine(folder)).target
    model = folder / target_from_name(name).runtime.model_files[0]
    if name not in ("openvino", "ort-cpu", "ort-cpu-dynamic", "float"):
        raise SystemExit(f"{folder} is of the target {name}; give one of openvino, ort-cpu, ort-cpu-dynamic or float")
    with predictor_from_path(folder) as predictor:
        output = output_names(predictor.task.outputs(predictor.head))[0]
    if name == "openvino":
        engines = {key: openvino_engine(model, output, key, variant) for key, variant in OPENVINO_VARIANTS.items()}
    else:
        engines = {key: ort_engine(model, output, variant) for key, variant in ORT_VARIANTS.items()}
    found: dict[str, dict[str, Any]] = {key: {"error": 0.0} for key in engines}
    for rows, length in shapes:
        batch = full_batch(rows, length, int(config_from_path(folder)["vocab_size"]))
        answers = {key: run(batch) for key, run in engines.items()}
        calls = {key: repeated(partial(run, batch)) for key, run in engines.items()}
        turns = {key: [fmean(turn) for turn in each] for key, each in time_calls(calls, rounds).items()}
        for key, seconds in turns.items():
            pairs = zip(seconds, turns[OWN], strict=True)
            found[key][f"{rows}x{length}"] = median(own / base for own, base in pairs)
            found[key]["error"] = max(found[key]["error"], float(np.abs(answers[key] - answers[OWN]).max()))
    return found


def page(document: Mapping[str, Any], shapes: list[tuple[int, int]]) -> str:
    """Return a table for each artefact, as Markdown."""
    lines = heading("What the runtimes' options do", dict(document))
    lines += ["Time as a ratio to the first row's, and the largest difference of an output.", ""]
    names = [f"{rows}x{length}" for rows, length in shapes]
    for folder, variants in document["ratios"].items():
        lines += [f"## {folder}", "", f"| | {' | '.join(names)} | difference |", "| --- " * (len(names) + 2) + "|"]
        for key, found in variants.items():
            cells = [f"{found[name]:.2f}" for name in names]
            lines.append(f"| {key} | {' | '.join(cells)} | {found['error']:.2g} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="a folder, repeatable")
    parser.add_argument("--shape", default=SHAPES, help="batch x length, by commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file; the table lies beside it")
    options = parser.parse_args()
    shapes = []
    for shape in options.shape.split(","):
        rows, length = map(int, shape.split("x"))
        shapes.append((rows, length))
    ratios = {str(folder): ratios_of(folder, shapes, options.rounds) for folder in options.artefact}
    document = {**run_facts("openvino"), "rounds": options.rounds, "ratios": ratios}
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(page(document, shapes), encoding="utf-8")
    print(page(document, shapes))


if __name__ == "__main__":
    main()
