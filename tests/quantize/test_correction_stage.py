"""The stage correct: what is chosen is the best that was tried, is what the build holds, and is never used unasked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import checkpoint_from_path
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.build import build
from bertc.jobs.inputs import calibration_from_recipe, inputs_from_recipe, table_from_inputs
from bertc.jobs.plan import correction_from_recipe, scheme_from_recipe
from bertc.quantize.correction import Correction
from bertc.quantize.correction_stage import chosen_correction
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe, recipe_from_document
from bertc.report.schema import Report
from bertc.tasks import outputs_from_head
from tests.fixtures import tiny_sentence, write_tiny_bert

NAMES = {"nearest", "nearest, biases corrected", "gptq", "gptq, biases corrected"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny classifier and text to calibrate on."""
    write_tiny_bert(tmp_path / "model", positions=64)
    rows = [f"{tiny_sentence(seed, 5)}\t{('negative', 'positive')[seed % 2]}\n" for seed in range(24)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return tmp_path


def recipe_of(folder: Path, **quantization: Any) -> Recipe:
    return recipe_from_document(
        {
            "checkpoint": str(folder / "model"),
            "calibration": {"data": str(folder / "train.tsv")},
            "quantization": quantization,
            "validation": {"unvalidated": True},
            "engine": {"threads": 1},
        },
        "test",
    )


def corrected(folder: Path, recipe: Recipe, *, text: bool = True, **origin: Any) -> Correction:
    """Run the stage alone."""
    checkpoint = checkpoint_from_path(recipe.checkpoint)
    graph, texts = graph_from_checkpoint(checkpoint), calibration_from_recipe(recipe.calibration, checkpoint, 64)
    scheme = scheme_from_recipe(recipe.quantization, layers=2)
    with StageCache(folder / "cache", progress=Silent()) as cache:
        work = Work(cache, Silent())
        inputs = inputs_from_recipe(recipe, checkpoint, scheme, max_length=64)
        table = table_from_inputs(inputs, graph, work=work)
        return chosen_correction(
            graph,
            Quantization(scheme=scheme, table=replace(table, origin={**table.origin, **origin}), method=RangeMethod()),
            texts if text else None,
            correction_from_recipe(recipe.quantization),
            outputs_from_head(checkpoint.head),
            work=work,
        )


def built(folder: Path, recipe: Recipe, out: str) -> Report:
    with StageCache(folder / "cache", progress=Silent()) as cache:
        return build(recipe, folder / out, work=Work(cache, Silent()), command="bertc build").report


def test_the_best_of_four_is_taken_and_comes_back_from_the_cache(folder: Path) -> None:
    first, second = (corrected(folder, recipe_of(folder)) for _ in range(2))
    assert first.errors.keys() == NAMES
    assert first.errors[first.name] == min(first.errors.values())
    assert (second.name, second.errors) == (first.name, first.errors)
    assert second.gemms.keys() == first.gemms.keys() and len(first.gemms) == 12
    for gemm, rounded in first.gemms.items():
        assert np.array_equal(second.gemms[gemm].codes, rounded.codes)
        assert np.array_equal(second.gemms[gemm].shift, rounded.shift)


@pytest.mark.parametrize(
    ("quantization", "name", "tried"),
    [
        ({"rounding": "nearest", "bias_correction": False}, "nearest", 0),
        ({"rounding": "gptq", "bias_correction": True}, "gptq, biases corrected", 0),
        ({"rounding": "gptq"}, None, 2),
        ({"mode": "2"}, "nearest", 0),
        ({"mode": "2", "rounding": "gptq"}, "gptq", 0),
        ({"mode": "2", "granularity": "channel"}, None, 4),
    ],
)
def test_the_recipe_decides_what_it_names(
    folder: Path, quantization: dict[str, Any], name: str | None, tried: int
) -> None:
    found = corrected(folder, recipe_of(folder, **quantization))
    assert name is None or found.name == name
    assert len(found.errors) == tried


def test_trained_ranges_and_missing_text_leave_the_codes_alone(folder: Path) -> None:
    assert corrected(folder, recipe_of(folder), trained=True).name == "nearest"
    assert corrected(folder, recipe_of(folder), text=False).name == "nearest"


def test_what_is_asked_for_and_cannot_be_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="trained with its codes"):
        corrected(folder, recipe_of(folder, rounding="gptq"), trained=True)
    with pytest.raises(InputError, match="no calibration text"):
        corrected(folder, recipe_of(folder, bias_correction=True), text=False)


def test_the_report_says_what_was_done_and_the_model_has_it(folder: Path) -> None:
    plain = built(folder, recipe_of(folder, rounding="nearest", bias_correction=False), "plain")
    gptq = built(folder, recipe_of(folder, rounding="gptq", bias_correction=True), "gptq")
    assert (plain.quantization.rounding, gptq.quantization.rounding) == ("nearest", "gptq, biases corrected")
    models = [(folder / name / "model.onnx").read_bytes() for name in ("plain", "gptq")]
    assert models[0] != models[1]
    chosen = built(folder, recipe_of(folder), "chosen")
    assert chosen.quantization.rounding_errors.keys() == NAMES
