"""A batch in pieces of few shapes: nothing of it is lost, and nothing of the padding comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.feature import Feature
from bertc.graph.encoder import graph_from_checkpoint
from bertc.runtime.openvino.compiled_model import compile_options
from bertc.runtime.openvino.shapes import LENGTH_STEP, SPLIT_TOKENS, pieces_from_batch, usual_rows
from bertc.targets import target_from_name
from tests.tiny import OUTPUTS, random_features, tiny_checkpoint


def features(lengths: list[int]) -> list[Feature]:
    """Make texts of numbered tokens."""
    first = np.cumsum([1, *lengths])
    ids = [np.arange(start, start + length) for start, length in zip(first, lengths, strict=False)]
    return [Feature(input_ids=one, token_type_ids=one % 2, row=row) for row, one in enumerate(ids)]


def rows_of(batch: Batch) -> NDArray[np.int64]:
    """Put the pieces' own rows below each other."""
    return np.concatenate(
        [piece.batch.input_ids[: piece.rows, : batch.mask.shape[1]] for piece in pieces_from_batch(batch)]
    )


@pytest.mark.parametrize("lengths", [[5], [16], [17, 3, 9], [40, 2, 7, 1, 30], list(range(1, 40))])
def test_every_row_comes_back_in_order(lengths: list[int]) -> None:
    batch = batch_from_features(features(lengths), list(range(len(lengths))))
    np.testing.assert_array_equal(rows_of(batch), batch.input_ids)
    assert sum(piece.texts for piece in pieces_from_batch(batch)) == len(lengths)


def test_packed_rows_keep_their_texts() -> None:
    batch = packed_batch_from_features(features([5, 6, 7, 8, 9]), [[0, 1], [2, 3], [4]])
    pieces = pieces_from_batch(batch)
    np.testing.assert_array_equal(rows_of(batch), batch.input_ids)
    assert [(piece.rows, piece.texts) for piece in pieces] == [(3, 5)]


def test_a_row_of_padding_alone_has_one_token_to_look_at() -> None:
    (piece,) = pieces_from_batch(one_batch(5, 8))
    assert (piece.rows, piece.texts, piece.batch.mask.shape) == (5, 5, (6, 16))
    assert piece.batch.mask[5].tolist() == [1] + 15 * [0]


def test_few_shapes_cost_little_padding() -> None:
    shapes = set()
    for rows in range(1, 130):
        for length in range(1, 2048 // rows + 1):
            found = [piece.batch.mask.shape for piece in pieces_from_batch(one_batch(rows, length))]
            columns = -(-length // LENGTH_STEP) * LENGTH_STEP
            assert sum(size for size, _ in found) * columns <= rows * columns + SPLIT_TOKENS
            shapes |= {shape for shape in found if length <= 512}
    assert len(shapes) < 220


def one_batch(rows: int, length: int) -> Batch:
    """Make a batch of texts of one length."""
    ones = np.ones((rows, length), np.int64)
    return Batch(input_ids=ones, token_type_ids=ones, mask=ones, order=tuple(range(rows)))


def test_padding_that_costs_more_than_a_call_is_cut_off() -> None:
    assert usual_rows(5, 64) == [(5, 6)]
    assert usual_rows(5, 80) == [(4, 4), (1, 1)]
    assert [usual_rows(rows, 512) for rows in (1, 2, 3, 12)] == [[(rows, rows)] for rows in (1, 2, 3, 12)]


def test_float_activations_are_not_rounded_unasked() -> None:
    assert compile_options(1, "f32")["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 0


@pytest.mark.openvino
@pytest.mark.parametrize("task", ["sequence-classification", "token-classification", "question-answering"])
def test_padding_beyond_the_position_table_changes_nothing(tmp_path: Path, task: str) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint", positions=20, task=task)
    target = target_from_name("openvino-float")
    path = target.runtime.write_model(target.onnx_from_graph(graph_from_checkpoint(checkpoint)), tmp_path)
    batch = batch_from_features(random_features(5, shortest=17, longest=20), range(5))
    compiled = openvino.Core().compile_model(path, "CPU", dict(target.runtime.options))
    direct = compiled(batch.feeds([value.any_name for value in compiled.inputs]))
    engine = target.runtime.engine_from_path(path, threads=1)
    for name, ours in zip(OUTPUTS[task], engine.run(batch, OUTPUTS[task]), strict=True):
        assert ours.shape == direct[name].shape
        np.testing.assert_allclose(ours, direct[name], atol=1e-5)
    engine.close()
