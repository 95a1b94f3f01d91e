"""bertc distill: what it prints, its exit codes, and what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertc.checkpoint import checkpoint_from_path
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert

SHORT = ("--layers", "1", "--steps", "5", "--batch-size", "10", "--held-out", "4", "--threads", "1", "--no-cache")


def test_a_run_says_what_it_did(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    called = bertc("distill", classifier, "--train-data", rows, "-o", tmp_path / "student", *SHORT)
    assert called.code == 0
    labels = [line.split("  ")[0] for line in called.out.splitlines()]
    held = ["held out loss", "held out accuracy", "held out agreement"]
    assert labels == ["steps", "time", *held, "teacher's accuracy", "checkpoint"]
    again = bertc("distill", classifier, "--train-data", rows, "-o", tmp_path / "student", *SHORT)
    assert again.code == 2 and "--force" in again.err
    called = bertc("distill", classifier, "--train-data", rows, "-o", tmp_path / "student", *SHORT, "--force", "--json")
    assert called.json == json.loads((tmp_path / "student" / "training.json").read_text(encoding="utf-8"))


def test_an_engine_is_judged_against_the_teacher(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    out, engine = tmp_path / "student", tmp_path / "engine"
    judged = ("--engine", engine, "--validation-data", rows, "--max-drop", "2abs", "--min-agreement", "1")
    called = bertc("distill", classifier, "--train-data", rows, "-o", out, *SHORT, *judged, "--json")
    assert called.code == 1 and "not passed" in called.err
    report = called.json
    assert report == json.loads((engine / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["digest"] == checkpoint_from_path(out).digest
    assert report["data"]["calibration"]["path"] == report["data"]["validation"]["path"] == str(rows)
    assert f"the float reference is {classifier}" in report["warnings"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "student"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--layers", "0"), "--layers"),
        (("--layers", "2"), "no smaller"),
        (("--layers", "7"), "no smaller"),
        (("--layers", "1.5"), "--layers"),
        (("--steps", "0"), "--steps"),
        (("--distill", "none"), "learns nothing from its teacher"),
        (("--distill", "logits=-1"), "negative"),
        (("--distill", "pixels"), "student.distill"),
        (("--task", "token-classification"), "give one tag per word"),
        (("--target", "auto-cpu"), "auto-cpu"),
        (("--validation-data", "rows.tsv"), "name its folder with --engine"),
        (("--engine", "student"), "not apart"),
        (("--engine", "engine"), "--validation-data"),
        (("--engine", "engine", "--validation-data", "nowhere.tsv"), "nowhere.tsv"),
        (("--device", "cuda"), "no CUDA device"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    flags: tuple[str, ...],
    words: str,
    bertc: Bertc,
    tmp_path: Path,
    classifier: Path,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    called = bertc("distill", classifier, "--train-data", rows, "-o", "student", *SHORT, "-q", *flags)
    assert called.code == (3 if "cuda" in flags else 2), called.err
    assert words in called.err and called.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_needed_is_asked_for(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    for given, words in ((("--train-data", rows), "--layers"), (("--layers", "1"), "--train-data")):
        called = bertc("distill", classifier, *given, "-o", tmp_path / "student", "-q")
        assert called.code == 2 and words in called.err


def test_a_single_layer_has_no_student(bertc: Bertc, tmp_path: Path, rows: Path) -> None:
    teacher = write_tiny_bert(tmp_path / "teacher", layers=1)
    called = bertc("distill", teacher, "--train-data", rows, "-o", tmp_path / "student", *SHORT, "-q")
    assert called.code == 2 and "has 1 layers, and a student of 1 is no smaller" in called.err
