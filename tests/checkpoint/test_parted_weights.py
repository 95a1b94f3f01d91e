"""Weights that are stored as one: read by their parts, and written back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from tests.foreign import tensors_of, write_tensors
from tests.tiny_families import write_tiny_family

JOINED = "model.layers.1.attn.Wqkv.weight"
PARTS = [f"layers.1.attn.Wqkv.{part}.weight" for part in ("query", "key", "value")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_family(tmp_path / "checkpoint", "modernbert")


def test_the_parts_are_the_rows_in_order(folder: Path) -> None:
    weights, stored = checkpoint_from_path(folder).weights, tensors_of(folder)[JOINED]
    assert set(PARTS) <= set(weights) and "layers.1.attn.Wqkv.weight" not in weights
    assert {weights.shape(name) for name in PARTS} == {(64, 64)}
    assert {weights.stored_name(name) for name in PARTS} == {JOINED}
    np.testing.assert_array_equal(np.concatenate([weights.array(name) for name in PARTS]), stored)


def test_a_changed_part_is_written_among_the_others(folder: Path, tmp_path: Path) -> None:
    checkpoint, before = checkpoint_from_path(folder), tensors_of(folder)
    (tmp_path / "copy").mkdir()
    write_checkpoint(checkpoint, tmp_path / "copy", {PARTS[1]: np.ones((64, 64), np.float32)})
    after = tensors_of(tmp_path / "copy")
    assert after.keys() == before.keys()
    expected = before[JOINED].copy()
    expected[64:128] = 1
    np.testing.assert_array_equal(after[JOINED], expected)
    assert all(np.array_equal(after[name], before[name]) for name in before if name != JOINED)


def test_rows_that_do_not_divide_are_refused(folder: Path) -> None:
    tensors = tensors_of(folder)
    write_tensors(folder, tensors | {JOINED: tensors[JOINED][:-1]})
    with pytest.raises(InputError, match=r"Wqkv\.weight has 191 rows, which are not 3 equal parts"):
        checkpoint_from_path(folder)
