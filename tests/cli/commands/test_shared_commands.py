"""The commands on a real checkpoint: a small build, the same figures from the artefact alone, a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.artefacts import Bertc


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_checkpoint_from_build_to_prediction(bertc: Bertc, tmp_path: Path, shared_path: Path) -> None:
    out, dev = tmp_path / "out", shared_path / "data/sst2/dev.tsv"
    options = ("--calibration-data", shared_path / "data/sst2/train.tsv", "--calibration-samples", "64")
    gates = ("--validation-data", dev, "--validation-limit", "200", "--gate", "accuracy:5%", "--min-agreement", "0.95")
    called = bertc("build", shared_path / "models/minilm-sst2", "-o", out, *options, *gates, "--no-cache")
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    again = bertc("validate", out, "--validation-data", dev, "--json")
    assert again.json["accuracy"] == report["accuracy"] and again.json["metrics"] == report["metrics"]
    called = bertc("predict", out, "--text", "a gripping film", "--text", "a dull, lifeless mess")
    assert [json.loads(line)["label"] for line in called.out.splitlines()] == ["positive", "negative"]
