"""bertc beside its peers: the same checkpoint through every tool, interleaved, in one run.

    python benchmarks/peers --checkpoint CHECKPOINT --calibration-data TRAIN --validation-data DEV --out RESULT.json

The peers live in virtual environments of the benchmark's own (requirements.txt), which the first run makes. Every
engine has a process of its own and waits for its turn; figures are medians over rounds, ratios are within a round.
Built models are kept in --work, so that a second run only measures. Beside RESULT.json a Markdown table and two
pictures are written (speed beside the best peer, and products per second beside the most that the cores reach); parts
that are not run keep what the file had.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engines import QUICK, Engine, all_engines
from environments import HERE, ROOT, environment_variables, python_of
from inputs import Feature, write_inputs
from parts import Benchmark, Figures, accuracy_part, build_part, latency_part, throughput_part
from roofline import roofline
from tables import markdown, plot

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.data.dataset import dataset_from_path
from bertc.data.encoded import Encoded
from bertc.errors import BertcError
from bertc.jobs.inputs import calibration_from_recipe, length_of_inputs, proof_from_recipe
from bertc.recipe import Recipe, recipe_from_document
from bertc.runtime.machine.cpu import cpu_features, usable_cores
from bertc.runtime.native.library import instruction_sets
from bertc.tasks import task_from_name

PARTS = ("build", "accuracy", "latency", "throughput")
SHAPES = "1x32,1x128,16x128,8x384"
QA_WINDOW = 384


def main() -> None:
    """Measure, write, print."""
    options = parsed()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_from_path(the_checkpoint(options))
    recipe = recipe_of(options, checkpoint)
    length = length_of_inputs(checkpoint, recipe.engine.max_length)
    calibration = calibration_from_recipe(recipe.calibration, checkpoint, length)
    proof = proof_from_recipe(recipe.validation, checkpoint, length)
    assert proof is not None
    rows = proof.texts
    validation = Encoded(
        path=rows.path,
        digest=rows.digest,
        rows=rows.rows,
        features=tuple(rows.encode(rows.rows)),
        max_length=rows.max_length,
    )
    traffic = traffic_of(options, checkpoint, validation)
    shapes = [(int(batch), int(length)) for batch, length in (text.split("x") for text in options.shapes.split(","))]
    texts = {"calibration": pairs(calibration.features), "validation": pairs(validation.features), **traffic}
    inputs = write_inputs(options.work, texts, shapes)
    bench = Benchmark(
        checkpoint=checkpoint,
        engines=chosen(options.only),
        work=options.work,
        environments=options.environments or options.work,
        inputs=inputs,
        calibration={
            "data": options.calibration_data,
            "samples": options.calibration_samples,
            "columns": recipe.calibration.columns,
        },
        digest=checkpoint.digest + calibration.digest + str(options.calibration_samples),
        threads=options.threads or usable_cores(),
        rounds=options.rounds,
    )
    document = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    before = {engine["name"] for engine in document.get("engines", ())}
    document |= provenance(options, bench, checkpoint, before)
    own = {engine.name for engine in bench.engines}
    elsewhere = {name: why for name, why in document.get("failed", {}).items() if name not in own}
    for part in options.parts.split(","):
        document |= run_part(part, bench, options, shapes, validation, traffic)
        document["failed"] = elsewhere | bench.failed
        save(options.out, document)
    print(markdown(document))


def run_part(
    part: str, bench: Benchmark, options: argparse.Namespace, shapes: Any, validation: Encoded, traffic: Figures
) -> Figures:
    """Run one part; returns its entries of the result."""
    print(f"== {part}", flush=True)
    if part == "build":
        return {"build": build_part(bench)}
    if part == "accuracy":
        return {} if options.random_weights else {"accuracy": accuracy_part(bench, validation)}
    if part == "latency":
        return latency_part(bench, shapes)
    lengths = {name: [len(ids) for ids, _ in features] for name, features in traffic.items()}
    batches = [int(batch) for batch in options.batches.split(",")]
    return {"throughput": throughput_part(bench, lengths, batches)}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--calibration-data", required=True)
    parser.add_argument("--validation-data", required=True)
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME of both files, repeatable")
    parser.add_argument("--calibration-samples", type=int, default=300, help="300 is NNCF's default")
    parser.add_argument(
        "--traffic",
        action="append",
        default=[],
        metavar="NAME:TASK=FILE",
        help="texts whose lengths are used for throughput, encoded as TASK does; repeatable",
    )
    parser.add_argument("--traffic-tokens", type=int, default=24_000, help="at most so many tokens of each, in order")
    parser.add_argument("--random-weights", choices=["base", "large"], help="BERT's dimensions; speed alone")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, by commas")
    parser.add_argument(
        "--only", action="append", default=[], help="engines by name, repeatable; 'quick' for the main ones"
    )
    parser.add_argument("--shapes", default=SHAPES, help=f"BATCHxLENGTH by commas; default {SHAPES}")
    parser.add_argument("--batches", default="16,32", help="batch sizes of throughput, by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks/.work", help="built models and environments")
    parser.add_argument("--environments", type=Path, help="folder of the environments, where not in --work")
    parser.add_argument("--out", type=Path, required=True, help="RESULT.json; RESULT.md and the pictures beside it")
    options = parser.parse_args()
    unknown = set(options.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    return options


def chosen(only: list[str]) -> list[Engine]:
    """Return the engines that are asked for, in the order of the tables."""
    wanted = {name for asked in only for name in (QUICK if asked == "quick" else [asked])}
    engines = all_engines()
    unknown = wanted - {engine.name for engine in engines}
    if unknown:
        names = "; ".join(engine.name for engine in engines)
        raise SystemExit(f"there is no engine {', '.join(sorted(unknown))}; choose of: {names}")
    return [engine for engine in engines if not wanted or engine.name in wanted]


def the_checkpoint(options: argparse.Namespace) -> Path:
    """Return the checkpoint, or one of random weights with its tokenizer, which is written once."""
    checkpoint: Path = options.checkpoint.resolve()
    if options.random_weights is None:
        return checkpoint
    folder: Path = options.work / f"random-{options.random_weights}"
    if not (folder / "config.json").exists():
        python = python_of("main", options.environments or options.work)
        code = "import checkpoints, pathlib, sys; checkpoints.write_random_checkpoint("
        code += "sys.argv[1], *map(pathlib.Path, sys.argv[2:]))"
        variables = environment_variables(1)
        variables["PYTHONPATH"] += os.pathsep + str(HERE)
        subprocess.run(
            [str(python), "-c", code, options.random_weights, str(checkpoint), str(folder)], check=True, env=variables
        )
    return folder


def recipe_of(options: argparse.Namespace, checkpoint: Checkpoint) -> Recipe:
    """Return the recipe that reads the data."""
    columns = dict(pair.split("=", 1) for pair in options.column)
    return recipe_from_document(
        {
            "checkpoint": str(checkpoint.path),
            "calibration": {
                "data": options.calibration_data,
                "columns": columns,
                "samples": options.calibration_samples,
            },
            "validation": {"data": options.validation_data, "columns": columns},
        },
        "benchmark",
    )


def traffic_of(options: argparse.Namespace, checkpoint: Checkpoint, validation: Encoded) -> dict[str, list[Feature]]:
    """Return the texts of the throughput part by name."""
    if not options.traffic:
        return {Path(options.validation_data).name: first_tokens(pairs(validation.features), options.traffic_tokens)}
    found = {}
    for asked in options.traffic:
        (name, _, rest), file = asked.partition("=")[0].partition(":"), asked.partition("=")[2]
        task = task_from_name(rest)
        length = QA_WINDOW if rest == "question-answering" else checkpoint.encoder.max_length
        rows = dataset_from_path(file, layout=task_from_name(rest).layout).rows
        encoded = task.features_from_rows(rows[: options.traffic_tokens], checkpoint.encoder, length)
        found[name] = first_tokens(pairs(encoded), options.traffic_tokens)
    return found


def first_tokens(features: list[Feature], most: int) -> list[Feature]:
    """Return so many tokens' worth of features, spread evenly over all and in their order."""
    total = sum(len(ids) for ids, _ in features)
    step = max(1, -(-total // most))
    return features[::step]


def pairs(features: Any) -> list[Feature]:
    """Return features as plain arrays."""
    return [(feature.input_ids, feature.token_type_ids) for feature in features]


def provenance(options: argparse.Namespace, bench: Benchmark, checkpoint: Checkpoint, before: set[str]) -> Figures:
    """Say what was measured, with what and where; `before` are engines of parts that the file has already."""
    listed_engines = before | {engine.name for engine in bench.engines}
    listed = subprocess.run(
        [str(python_of("main", bench.environments)), "-m", "pip", "list", "--format=json"],
        capture_output=True,
        text=True,
        check=True,
    )
    kept = ("onnxruntime", "openvino", "nncf", "torch", "torchao", "transformers", "onnx", "numpy")
    versions = {item["name"]: item["version"] for item in json.loads(listed.stdout) if item["name"] in kept}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    cpu = cpu_features()
    size = options.random_weights
    return {
        "command": shlex.join(["python", "benchmarks/peers", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cpu": cpu.model,
        "features": sorted(cpu.features),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "threads": bench.threads,
        "versions": versions,
        "instruction_set": instruction_sets()[0],
        "checkpoint": f"BERT-{size} with random weights" if size else options.checkpoint.name,
        "dimensions": {
            "hidden": checkpoint.architecture.hidden,
            "layers": checkpoint.architecture.layers,
            "intermediate": checkpoint.architecture.intermediate,
            "first_tokens": checkpoint.head.task == "sequence-classification",
        },
        "digest": checkpoint.digest,
        "engines": [
            {"name": engine.name, "tool": engine.tool, "how": engine.how, "note": engine.note}
            for engine in all_engines()
            if engine.name in listed_engines
        ],
    }


def save(out: Path, document: Figures) -> None:
    """Write the result, its tables and its plot."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(markdown(document), encoding="utf-8")
    out.with_suffix(".svg").write_text(plot(document), encoding="utf-8")
    if document.get("yardsticks"):
        out.with_name(f"{out.stem}-roofline.svg").write_text(roofline(document), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BertcError as error:
        raise SystemExit(str(error)) from error
