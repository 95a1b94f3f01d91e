"""bertc finetune: what it prints, and what it makes of its flags."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest

from bertc.cli.options import weighted_names
from tests.artefacts import Bertc

SHORT = ("--steps", "3", "--batch-size", "4", "--held-out", "4", "--no-cache")


def test_a_run_says_what_it_did(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    out = tmp_path / "out"
    called = bertc("finetune", classifier, "--train-data", rows, "--int8-mode", "2", "-o", out, *SHORT)
    assert called.code == 0
    labels = [line.split("  ")[0] for line in called.out.splitlines()]
    held = ["held out loss", "held out accuracy", "held out agreement"]
    assert labels == ["steps", "time", *held, "teacher's accuracy", "checkpoint"]
    assert "step 3: logits" in called.err and "sentences/s" in called.err
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert report["command"].startswith(f"bertc finetune {classifier} --train-data")
    assert report["recipe"]["quantization"]["mode"] == "2"
    read = report["data"]["reading"]["sentence"]
    assert "labels" in read and f"{rows} is read as {read}" in called.err


def test_json_is_the_report_and_flags_reach_the_recipe(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    flags = ("--distill", "logits=2,attention", "--fixed-scales", "--labels", "0.5", "--seed", "3", "--accumulate", "2")
    called = bertc("finetune", classifier, "--train-data", rows, "-o", tmp_path / "out", *SHORT, *flags, "--json")
    assert called.code == 0
    report = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert called.json == report
    assert report["losses"] == {"logits": 2.0, "attention": 1.0, "labels": 0.5}
    training = report["recipe"]["training"]
    assert training["learned_scales"] is False and (training["seed"], training["accumulate"]) == (3, 2)


def test_a_length_on_the_command_line_replaces_the_recipes(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'checkpoint = "{classifier}"\n[training]\nepochs = 2.0\ndata = "{rows}"\n', encoding="utf-8")
    called = bertc("finetune", "--recipe", recipe, "-o", tmp_path / "out", *SHORT, "-q")
    assert (called.code, called.out) == (0, "")
    both = ("finetune", classifier, "--train-data", rows, "-o", tmp_path / "b", "--steps", "3", "--epochs", "1")
    called = bertc(*both)
    assert called.code == 2 and "exclude each other" in called.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--int8-mode", "1", "--granularity", "tensor"), "per-channel weights by definition"),
        (("--target", "float"), "no static INT8 to train for"),
        (("--distill", "none"), "nothing to learn"),
        (("--distill", "pixels"), "training.distill"),
        (("--distill", "logits=x"), "NAME=WEIGHT"),
        (("--float",), "copy of its teacher"),
        (("--device", "cuda"), "no CUDA device"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path, flags: tuple[str, ...], words: str
) -> None:
    called = bertc("finetune", classifier, "--train-data", rows, "-o", tmp_path / "out", *SHORT, "-q", *flags)
    assert called.code == (3 if "cuda" in flags else 2)
    assert words in called.err and called.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_training_data_is_said(bertc: Bertc, tmp_path: Path, classifier: Path) -> None:
    called = bertc("finetune", classifier, "-o", tmp_path / "out", "-q")
    assert called.code == 2 and "--train-data" in called.err


def test_without_torch_the_extra_is_named(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    called = bertc("finetune", classifier, "--train-data", rows, "-o", tmp_path / "out", "-q")
    assert called.code == 3 and 'pip install "bertc[train]"' in called.err


def test_weights_are_read_by_name() -> None:
    assert weighted_names("logits, hidden=0.5") == {"logits": 1.0, "hidden": 0.5}
    assert weighted_names("none") == {}
    with pytest.raises(click.BadParameter):
        weighted_names("hidden=much")
