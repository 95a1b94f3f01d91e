"""Several sentences in a row: none sees another, positions restart, ordinary masks mean what they meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head, Pooling
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import remove_unused
from bertc.ir.emit import IR_VERSION, OPSET, Emitter
from bertc.ir.interpret import Interpreter
from bertc.ir.sentences import emit_last_tokens, emit_packing, unpack_rows
from tests.conftest import TinyOf
from tests.tiny import OUTPUTS, Array, TinyModel, random_features, tiny_checkpoint, tiny_model

TOLERANCE = 1e-4
FEATURES = random_features(7)
ROWS = ((0, 3, 5), (2,), (6, 1), (4,))
PACKED = packed_batch_from_features(FEATURES, ROWS)
APART = batch_from_features(FEATURES, PACKED.order)
HEADS = {
    "cls": Head(task="feature-extraction", pooling=Pooling.CLS),
    "mean": Head(task="feature-extraction", pooling=Pooling.MEAN),
    "mean, normalized": Head(task="feature-extraction", pooling=Pooling.MEAN, normalize=True),
    "max": Head(task="feature-extraction", pooling=Pooling.MAX),
    "mix of layers": Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(0.2, 0.3, 0.5)),
}


def per_text(found: Mapping[str, Array], batch: Batch) -> list[list[Array]]:
    """Return what every output says of each text of a batch, tokens or not, in the batch's order."""
    texts = []
    for number, place in enumerate(batch.order):
        row, column = batch.start(number)
        tokens = slice(column, column + FEATURES[place].length)
        whole = batch.mask.shape
        texts.append(
            [values[row, tokens] if values.shape[:2] == whole else values[number] for values in found.values()]
        )
    return texts


def difference(first: list[list[Array]], second: list[list[Array]]) -> float:
    pairs = [pair for texts in zip(first, second, strict=True) for pair in zip(*texts, strict=True)]
    assert all(one.shape == other.shape for one, other in pairs)
    return max(float(np.abs(one - other).max()) for one, other in pairs)


def blind(batch: Batch) -> Batch:
    """Return the batch with an ordinary mask: one sentence for all that is packed in a row."""
    return replace(batch, mask=np.minimum(batch.mask, 1))


@pytest.mark.parametrize("task", OUTPUTS)
def test_every_head_answers_packed_sentences_as_sentences_apart(task: str, tiny_of: TinyOf) -> None:
    interpreter = Interpreter(tiny_of(task).graph)
    apart = interpreter.run(APART)
    assert difference(per_text(interpreter.run(PACKED), PACKED), per_text(apart, APART)) < TOLERANCE
    if task in ("token-classification", "question-answering"):  # with an ordinary mask they do see each other
        assert difference(per_text(interpreter.run(blind(PACKED)), PACKED), per_text(apart, APART)) > 0.01


@pytest.mark.parametrize("rows", [ROWS, ((6, 3, 5, 2, 0, 1, 4),), ((4,), (1, 6), (2, 0), (5, 3))])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_pooling_answers_packed_sentences_as_sentences_apart(
    head: Head, rows: tuple[tuple[int, ...], ...], tmp_path: Path
) -> None:
    """The last row full, too: there is nothing behind its last sentence."""
    batch = packed_batch_from_features(FEATURES, rows)
    plain = batch_from_features(FEATURES, batch.order)
    checkpoint = tiny_checkpoint(tmp_path, task="feature-extraction", head=head)
    interpreter = Interpreter(graph_from_checkpoint(checkpoint))
    packed, apart = interpreter.run(batch), interpreter.run(plain)
    assert packed["sentence_embedding"].shape == apart["sentence_embedding"].shape == (7, 64)
    assert difference(per_text(packed, batch), per_text(apart, plain)) < TOLERANCE


def test_with_an_ordinary_mask_a_row_is_one_sentence(tiny_classifier: TinyModel) -> None:
    interpreter = Interpreter(tiny_classifier.graph)
    (found,) = interpreter.run(blind(PACKED)).values()
    (apart,) = interpreter.run(APART).values()
    assert found.shape == (len(ROWS), 2) and apart.shape == (len(FEATURES), 2)
    assert np.abs(found[0] - apart[0]).max() > 0.01  # three sentences in its row
    np.testing.assert_allclose(found[1], apart[3], atol=TOLERANCE)  # alone in its row


@pytest.mark.parametrize("change", ["another sentence's words", "its own words"])
def test_a_sentence_does_not_depend_on_its_neighbours(change: str, tiny_classifier: TinyModel) -> None:
    interpreter = Interpreter(tiny_classifier.graph)
    (before,) = interpreter.run(PACKED).values()
    ids = PACKED.input_ids.copy()
    column = 0 if change == "another sentence's words" else PACKED.start(1)[1]
    ids[0, column : column + 2] = 7
    (after,) = interpreter.run(replace(PACKED, input_ids=ids)).values()
    same = np.array_equal(before[1], after[1])
    assert same == (change == "another sentence's words") and not np.array_equal(before, after)


@pytest.mark.parametrize("kind", ["left", "hole", "nothing"])
@pytest.mark.parametrize("task", OUTPUTS)
def test_padding_elsewhere_is_not_seen_and_positions_are_columns(kind: str, task: str, tiny_of: TinyOf) -> None:
    """As in transformers, which counts positions by columns whatever the mask."""
    interpreter = Interpreter(tiny_of(task).graph)
    batch = batch_from_features(random_features(3, shortest=12, longest=12), range(3))
    mask = batch.mask.copy()
    hidden = {"left": slice(0, 3), "hole": slice(4, 6), "nothing": slice(0, 12)}[kind]
    mask[1, hidden] = 0
    ids = batch.input_ids.copy()
    ids[1, hidden] = 9
    found = interpreter.run(replace(batch, mask=mask)).values()
    other = interpreter.run(replace(batch, mask=mask, input_ids=ids)).values()
    full = interpreter.run(batch).values()
    visible = mask[1].astype(bool)
    for one, two, plain in zip(found, other, full, strict=True):
        assert one.shape == plain.shape
        np.testing.assert_array_equal(one[[0, 2]], plain[[0, 2]])
        if kind == "hole" and one.shape[:2] == mask.shape:
            np.testing.assert_allclose(one[1][visible], two[1][visible], atol=1e-5)
            assert np.abs(one[1] - plain[1]).max() > 1e-3


def test_positions_restart_with_stored_embeddings_too(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    interpreter = Interpreter(store_embeddings(model.graph).graph)
    found, apart = interpreter.run(PACKED), interpreter.run(APART)
    assert difference(per_text(found, PACKED), per_text(apart, APART)) < TOLERANCE


@pytest.mark.parametrize("task", OUTPUTS)
def test_a_graph_without_packing_takes_ordinary_masks_as_before(task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task).graph.clone()
    unpack_rows(model)
    remove_unused(model)
    found, expected = Interpreter(model).run(APART), Interpreter(tiny_of(task).graph).run(APART)
    for name, values in expected.items():
        assert found[name].shape == values.shape
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    left = {node.op_type for node in model.graph}
    own = {"CumSum", "GatherND", "ArgMax"} if task == "fill-mask" else set()  # that find the first mask
    assert not left & ({"NonZero", "CumSum", "GatherND", "Mod", "Range"} - own)
    assert left < {node.op_type for node in tiny_of(task).graph.graph} | {"Gather"} | own


def test_the_last_token_is_found_in_rows_of_sentences_holes_and_padding_at_either_side() -> None:
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 3, 3, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], np.int64)
    emit = Emitter()
    value = ir.val("attention_mask", dtype=ir.DataType.INT64, shape=("batch", "sequence"))
    tokens = ir.val("tokens", dtype=ir.DataType.FLOAT, shape=("batch", "sequence", 1))
    found = emit_last_tokens(emit, emit_packing(emit, value), tokens)
    found.dtype, found.shape = ir.DataType.FLOAT, ir.Shape(("sentences", 1))
    graph = ir.Graph(
        [value, tokens], [found], nodes=emit.nodes, initializers=emit.initializers, opset_imports={"": OPSET}, name="t"
    )
    session = ort.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString())
    numbers = np.arange(mask.size, dtype=np.float32).reshape(*mask.shape, 1)
    (last,) = session.run(None, {"attention_mask": mask, "tokens": numbers})
    assert last.ravel().tolist() == [2, 8, 11, 13, 17, 20]
