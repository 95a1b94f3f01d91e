"""The stages alone share the cache with a build, and take from it what is theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.core.progress import Silent
from bertc.data import dataset
from bertc.jobs.calibrate import calibrate
from bertc.jobs.export import export
from bertc.jobs.quantize import quantize
from bertc.recipe import Recipe, recipe_from_document
from tests.fixtures import tiny_sentence, write_tiny_bert

DEMO = Path(__file__).parents[2] / "demo"


def recipe_of(checkpoint: Path, text: Path, **sections: Any) -> Recipe:
    calibration = {"data": str(text), "samples": 16}
    return recipe_from_document({"checkpoint": str(checkpoint), "calibration": calibration, **sections}, "test")


def test_another_attention_takes_what_was_calibrated_and_corrected(tmp_path: Path) -> None:
    times = {}
    with StageCache(tmp_path / "cache") as cache:
        for attention in ("decomposed", "kernel", "native"):
            work = Work(cache, Silent())
            engine = {"target": "tensorrt", "attention": attention}
            export(recipe_of(DEMO / "model-head-64", DEMO / "data/train.tsv", engine=engine), work=work)
            times[attention] = {time.name: time.cached for time in work.times}
    for stage in ("calibrate", "correct"):
        assert [times[name][stage] for name in times] == [False, True, True]


def test_text_is_read_and_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "train.tsv"
    text.write_text("text\n" + "".join(f"{tiny_sentence(seed, 5)}\n" for seed in range(24)), encoding="utf-8")
    model = write_tiny_bert(tmp_path / "model", positions=64)
    opened = []
    real = dataset._open_rows
    monkeypatch.setattr(
        dataset, "_open_rows", lambda path, *rest, **how: opened.append(path) or real(path, *rest, **how)
    )
    for job in (calibrate, quantize, export):
        with StageCache(None) as cache:
            job(recipe_of(model, text), work=Work(cache, Silent()))
    assert opened == [text] * 3
