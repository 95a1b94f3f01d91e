"""Latency of bertc's engines beside ONNX Runtime's own FP32 and dynamic INT8, interleaved in one process.

    python benchmarks/latency.py --checkpoint CHECKPOINT --calibration-data TRAIN [--rounds 9] [--out FILE.json]

The peers need the extra `dev` (torch exports them). Writes a JSON file with the machine, the versions and the command,
and prints a Markdown table: milliseconds, and the ratio to ONNX Runtime FP32.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir
from peers import onnxruntime_models

from bertc.checkpoint import checkpoint_from_path
from bertc.features import Silent
from bertc.graph.build import OUTPUTS, architecture_from_checkpoint, graph_from_checkpoint
from bertc.inputs import calibration_from_recipe, scheme_from_recipe, table_from_text
from bertc.pipeline import export_model
from bertc.recipe import Recipe, recipe_from_document
from bertc.runtime.cpu import cpu_features, usable_cores
from bertc.runtime.engine import Engine
from bertc.runtime.latency import measure_latency
from bertc.runtime.ort import open_session
from bertc.targets import target_from_name
from bertc.versions import library_versions

SHAPES = ((1, 32), (1, 128), (16, 128), (8, 384))
BASE = "onnxruntime fp32"


def bertc_models(checkpoint: Path, data: str, columns: dict[str, str], folder: Path) -> dict[str, Path]:
    """Write bertc's models of every CPU target; returns name -> file."""
    found = checkpoint_from_path(checkpoint)
    graph = graph_from_checkpoint(found)

    def recipe(target: str, mode: str, granularity: str | None) -> Recipe:
        return recipe_from_document(
            {
                "checkpoint": str(checkpoint),
                "calibration": {"data": data, "columns": columns},
                "quantization": {"mode": mode, "granularity": granularity},
                "engine": {"target": target},
            },
            "benchmark",
        )

    first = recipe("ort-cpu", "1", None)
    table = table_from_text(first, found, graph, calibration_from_recipe(first, found), Silent())
    models = {}
    for name, target, mode, granularity in (
        ("bertc mode 1", "ort-cpu", "1", None),
        ("bertc mode 2 channel", "ort-cpu", "2", "channel"),
        ("bertc float", "float", "1", None),
        ("bertc ort-cpu-dynamic", "ort-cpu-dynamic", "1", None),
    ):
        wanted = recipe(target, mode, granularity)
        module = target_from_name(target)
        model, _, _ = export_model(wanted, module, graph, scheme_from_recipe(wanted, found, module), table)
        models[name] = folder / f"{name.replace(' ', '-')}.onnx"
        ir.save(model, models[name])
    return models


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--calibration-data", required=True)
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME, repeatable")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    columns = dict(pair.split("=", 1) for pair in options.column)
    found = checkpoint_from_path(options.checkpoint)
    architecture = architecture_from_checkpoint(found)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = onnxruntime_models(options.checkpoint, folder)
        models |= bertc_models(options.checkpoint, options.calibration_data, columns, folder)
        engines: dict[str, Engine] = {
            name: open_session(path, threads=options.threads) for name, path in models.items()
        }
        sizes = {name: path.stat().st_size for name, path in models.items()}
        results = measure_latency(
            engines,
            OUTPUTS[found.head.task][:1],
            vocabulary=architecture.vocabulary,
            positions=architecture.positions,
            shapes=SHAPES,
            rounds=options.rounds,
        )
    print("| batch x length | " + " | ".join(engines) + " |")
    print("| --- |" + " --- |" * len(engines))
    ratios: dict[str, list[float]] = {name: [] for name in engines}
    for row in results:
        for name, time in row.milliseconds.items():
            ratios[name].append(row.milliseconds[BASE] / time)
        cells = [f"{time:.2f} ms ({ratios[name][-1]:.2f}x)" for name, time in row.milliseconds.items()]
        print(f"| {row.batch} x {row.length} | " + " | ".join(cells) + " |")
    means = {name: math.exp(sum(map(math.log, values)) / len(values)) for name, values in ratios.items()}
    print("| geometric mean | " + " | ".join(f"{means[name]:.2f}x" for name in engines) + " |")
    if options.out:
        document = {
            "command": "python " + " ".join(sys.argv),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpu": cpu_features().model,
            "features": sorted(cpu_features().features),
            "threads": options.threads or usable_cores(),
            "versions": library_versions(),
            "rounds": options.rounds,
            "model_bytes": sizes,
            "milliseconds": [
                {"batch": row.batch, "length": row.length, "median": dict(row.milliseconds)} for row in results
            ],
            "geometric_mean_over_fp32": means,
        }
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
