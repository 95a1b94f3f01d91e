"""bertc prune: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

from bertc.artefact.manifest import verify_artefact
from tests.artefacts import Bertc


def test_it_says_what_every_gemm_lost_and_the_result_builds(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    out = tmp_path / "pruned"
    called = bertc("prune", classifier, "--calibration-data", rows, "-o", out, "--no-cache")
    assert called.code == 0 and "energy kept" in called.out and "output error" in called.out
    assert "12 of 12 GEMMs are 2:4" in called.out
    verify_artefact(out)
    options = ("--target", "ort-cpu", "--unvalidated", "--no-cache")  # `native` measures what it gains
    built = bertc("build", out, "--calibration-data", rows, *options, "-o", tmp_path / "engine")
    assert built.code == 0 and "2:4 as in the checkpoint, 12 tensors, verified in the file" in built.out
    assert "no gain on this target" in built.out


def test_json_and_skipped_gemms(bertc: Bertc, tmp_path: Path, classifier: Path) -> None:
    options = ("--sparsity-criterion", "magnitude", "--sparsity-skip", "layer.0", "--sparsity-permute", "--no-cache")
    called = bertc("prune", classifier, "-o", tmp_path / "out", *options, "--json")
    assert called.code == 0 and json.loads(called.out)["tensors"] == 6


def test_what_is_missing_or_wrong_is_code_2(bertc: Bertc, tmp_path: Path, classifier: Path) -> None:
    called = bertc("prune", classifier, "-o", tmp_path / "a", "--no-cache")
    assert called.code == 2 and "--calibration-data" in called.err and not (tmp_path / "a").exists()
    called = bertc("prune", classifier, "-o", tmp_path / "b", "--sparsity-criterion", "random")
    assert called.code == 2 and "sparsegpt" in called.err
    assert bertc("prune", classifier).code == 2
