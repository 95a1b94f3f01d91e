"""A choice of quantization is refused where no target takes it, and taken where one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.cli.int8_request import check_precision, check_trained_precision
from bertc.errors import InputError
from bertc.recipe import Recipe, recipe_from_document
from tests.artefacts import Bertc

FLAGS = [("mode", "2", "--int8-mode"), ("granularity", "channel", "--granularity"), ("keep_float", ("layer.0",), "--")]


def recipe_for(target: str, **quantization: Any) -> Recipe:
    return recipe_from_document(
        {"checkpoint": "model", "engine": {"target": target}, "quantization": quantization}, "test"
    )


@pytest.mark.parametrize(("name", "value", "flag"), FLAGS)
@pytest.mark.parametrize("target", ["float", "ort-cpu-dynamic", "float,ort-cpu-dynamic"])
def test_a_target_without_schemes_takes_no_choice_of_one(target: str, name: str, value: Any, flag: str) -> None:
    flags = {f"quantization__{name}": value}
    with pytest.raises(InputError, match=f"the target {target.split(',', maxsplit=1)[0]} takes no {flag}.*: it is "):
        check_precision(recipe_for(target), flags)
    check_precision(recipe_for("native"), flags)
    check_precision(recipe_for(f"{target},native"), flags)  # one of them takes it


@pytest.mark.parametrize("target", ["float", "ort-cpu-dynamic"])
def test_a_recipe_with_a_scheme_may_be_built_for_a_reference(target: str) -> None:
    check_precision(recipe_for(target, mode="2", granularity="channel"), {"quantization__mode": None})


def test_which_targets_auto_cpu_tries_is_not_asked() -> None:
    check_precision(recipe_for("auto-cpu"), {"quantization__mode": "2"})


def test_the_command_says_it_before_anything_is_read(bertc: Bertc, classifier: Path, tmp_path: Path) -> None:
    called = bertc("export", classifier, "-o", tmp_path / "model.onnx", "--target", "float", "--int8-mode", "2")
    assert called.code == 2 and "the target float takes no --int8-mode, leave it out: it is FP32" in called.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("calibrator", "mse", "--calibrator"),
        ("percentile", 99.0, "--percentile"),
        ("per_site", ("smoothing",), "--per-site"),
        ("table", "calibration.json", "--calibration"),
    ],
)
def test_ranges_are_a_scheme_s(name: str, value: Any, flag: str) -> None:
    flags = {f"calibration__{name}": value}
    for target in ("float", "ort-cpu-dynamic", "openvino-bf16"):
        with pytest.raises(InputError, match=f"the target {target} takes no {flag}, leave it out: it is "):
            check_precision(recipe_for(target), flags)
    for target in ("native", "openvino,openvino-bf16", "float,native", "auto-cpu"):
        check_precision(recipe_for(target), flags)


def test_text_may_be_named_for_a_reference() -> None:
    """A command line is the same for every target but for its name."""
    check_precision(recipe_for("float"), {"calibration__data": "train.tsv", "calibration__samples": 64})


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("quantization__mode", "2", "--int8-mode"),
        ("quantization__smoothing", 0.0, "--smoothing"),
        ("calibration__data", "train.tsv", "--calibration-data"),
        ("calibration__calibrator", "mse", "--calibrator"),
        ("training__learned_scales", False, "--learned-scales/--fixed-scales"),
    ],
)
def test_a_training_in_float_takes_nothing_of_int8(name: str, value: Any, flag: str) -> None:
    for asked, training in (("--float", {"quantize": False}), ("--early-exit", {"early_exit": True})):
        recipe = recipe_from_document({"checkpoint": "model", "training": training}, "test")
        with pytest.raises(InputError, match=f"{asked} trains in float, and {flag} is of INT8 and its ranges; leave"):
            check_trained_precision(recipe, {name: value})
        check_trained_precision(recipe, {name: None, "training__labels": 0.5})
    check_trained_precision(recipe_for("native"), {name: value})


def test_finetune_says_it_before_anything_is_read(bertc: Bertc, classifier: Path, tmp_path: Path) -> None:
    training = ("--train-data", "absent.tsv", "--float", "--int8-mode", 2)
    called = bertc("finetune", classifier, "-o", tmp_path / "out", *training)
    assert called.code == 2 and "--float trains in float, and --int8-mode is of INT8" in called.err
    assert not list(tmp_path.iterdir())
