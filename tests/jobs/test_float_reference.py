"""The float reference of a build: another checkpoint of the same head and tokens, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.jobs.build import build
from bertc.jobs.float_reference import reference_from_path
from bertc.recipe import recipe_from_document
from bertc.report.schema import Report
from tests.fixtures import (
    SPECIAL_TOKENS,
    edit_json,
    tiny_sentence,
    tiny_vocab,
    write_tiny_bert,
    write_tiny_dense,
    write_tiny_pylate,
    write_tokenizer,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, one trained from it that always says the same, and labelled text."""
    write_tiny_bert(tmp_path / "model", positions=64)
    checkpoint = checkpoint_from_path(tmp_path / "model")
    bias = np.float32([100, -100])
    write_checkpoint(checkpoint, tmp_path / "trained", {"classifier.bias": bias})
    rows = [f"{tiny_sentence(seed, 5)}\t{('negative', 'positive')[seed % 2]}\n" for seed in range(24)]
    (tmp_path / "dev.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return tmp_path


def built(folder: Path, reference: str | None) -> Report:
    document: dict[str, Any] = {
        "checkpoint": str(folder / "trained"),
        "validation": {"data": str(folder / "dev.tsv"), "reference": reference and str(folder / reference)},
        "engine": {"target": "float", "threads": 1},
    }
    with StageCache(folder / "cache", progress=Silent()) as cache:
        recipe = recipe_from_document(document, "test")
        return build(recipe, folder / "out", work=Work(cache, Silent()), command="bertc build").report


def test_the_engine_is_compared_with_the_reference(folder: Path) -> None:
    own, other = built(folder, None), built(folder, "model")
    assert own.accuracy is not None and other.accuracy is not None
    assert own.accuracy.agreement == 1 and own.accuracy.drop == 0
    assert other.accuracy.logit_mse is not None and other.accuracy.logit_mse > 1000
    assert other.accuracy.engine == own.accuracy.engine
    assert any("the float reference is" in line for line in other.warnings)
    assert not any("the float reference is" in line for line in own.warnings)


def write_late(path: Path, *, dense: int = 1, width: int = 48, **settings: Any) -> Checkpoint:
    write_tiny_pylate(path, dense=dense, **settings)
    if width != 48:
        identity = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
        write_tiny_dense(path / "1_Dense", (64, width), **identity)
    return checkpoint_from_path(path)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"width": 32}, r"projections\[0\]\.sizes\[1\] 32 and 48"),
        ({"dense": 2}, "projections 2 and 1"),
        ({"query_length": 10}, r"interaction\.query_length 10 and 12"),
        (
            {"do_query_expansion": False, "skiplist_words": []},
            r"interaction\.filler none and 4; interaction\.skipped none and 2 \(\d+, \d+\)",
        ),
    ],
)
def test_another_head_is_refused_by_what_it_has_other(other: dict[str, Any], told: str, tmp_path: Path) -> None:
    ours = write_late(tmp_path / "ours")
    write_late(tmp_path / "same")
    assert reference_from_path(str(tmp_path / "same"), ours, None, max_length=32) is not None
    write_late(tmp_path / "other", **other)
    with pytest.raises(InputError, match=rf"another head than \S+ours \({told}\); name the"):
        reference_from_path(str(tmp_path / "other"), ours, None, max_length=32)


def test_other_labels_and_other_tokens_are_refused(folder: Path) -> None:
    write_tiny_bert(folder / "labels", positions=64)
    edit_json(folder / "labels/config.json", id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1})
    told = r"another head than \S+trained \(labels\[0\] no and negative; labels\[1\] yes and positive\); name"
    with pytest.raises(InputError, match=told):
        built(folder, "labels")
    write_tiny_bert(folder / "tokens", positions=64)
    write_tokenizer(folder / "tokens", (*SPECIAL_TOKENS, *reversed(tiny_vocab()[len(SPECIAL_TOKENS) :])), 64)
    with pytest.raises(InputError, match="other tokens"):
        built(folder, "tokens")
    with pytest.raises(InputError):
        built(folder, "missing")
