"""Rows and command lines for the tests of workers, be they processes or actors of a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertc.artefact.layout import ROWS_FILE
from bertc.calibrate.table import TABLE_FILE
from tests.fixtures import tiny_sentence

LABELS = ("negative", "positive")
ROWS = 700
"""Enough for several batches of every engine and several shards."""


def write_rows(path: Path) -> Path:
    lines = [f"{tiny_sentence(seed, 4 + seed % 9)}\t{LABELS[seed % 2]}\n" for seed in range(ROWS)]
    path.write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    return path


def calibrating(classifier: Path, rows: Path, out: Path) -> list[str]:
    return ["calibrate", str(classifier), "--calibration-data", str(rows), "-o", str(out), "--no-cache"]


def validating(artefact: Path, classifier: Path, rows: Path) -> list[str]:
    words = ["validate", str(artefact), "--validation-data", str(rows), "--checkpoint", str(classifier)]
    return [*words, "--any-reference", "--json"]


def building(classifier: Path, rows: Path, out: Path) -> list[str]:
    words = ["build", str(classifier), "-o", str(out), "--calibration-data", str(rows), "--calibration-samples", "32"]
    words += ["--validation-data", str(rows), "--target", "ort-cpu", "--max-drop", "2abs"]
    return [*words, "--any-reference"]


def found_by_build(out: Path) -> dict[str, Any]:
    """Read all of a build that may not depend on who did it: bytes of files, and what the report says but for times."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    said = {name: report[name] for name in ("passed", "accuracy", "metrics", "gates", "quantization", "sites")}
    return said | {name: (out / name).read_bytes() for name in (ROWS_FILE, TABLE_FILE, "model.onnx")}
