"""A batch bound to a device's memory, on the CPU: the same numbers as a plain run, refilled in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.runtime.engine import OrtEngine
from bertc.runtime.ort.binding import NO_GRAPH, BoundBatch
from tests.tiny import TinyModel

Opened = tuple[onnxruntime.InferenceSession, OrtEngine]


@pytest.fixture(scope="module")
def opened(tiny_classifier: TinyModel) -> Iterator[Opened]:
    model = ir.to_proto(ort.lower_graph(tiny_classifier.graph)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with OrtEngine(session) as engine:
        yield session, engine


def other_batch(batch: Batch) -> Batch:
    return replace(batch, input_ids=(batch.input_ids * 7) % 90 * batch.mask)


@pytest.mark.parametrize("graph", [NO_GRAPH, 1])
def test_it_gives_what_a_plain_run_gives_and_again_after_a_write(
    graph: int, opened: Opened, tiny_classifier: TinyModel
) -> None:
    session, engine = opened
    batch, other = tiny_classifier.batch, other_batch(tiny_classifier.batch)
    before = batch.input_ids.copy()
    bound = BoundBatch(session, engine.feeds(batch), ["logits"], device="cpu", graph=graph)
    for each in (batch, other, batch):
        bound.write(engine.feeds(each))
        bound.run()
        (found,), (expected,) = bound.read(), engine.run(each, ["logits"])
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(batch.input_ids, before)


def test_the_caller_s_arrays_are_not_the_device_s(opened: Opened, tiny_classifier: TinyModel) -> None:
    session, engine = opened
    feeds = engine.feeds(tiny_classifier.batch)
    kept = {name: ids.copy() for name, ids in feeds.items()}
    bound = BoundBatch(session, feeds, ["logits"], device="cpu")
    bound.write(engine.feeds(other_batch(tiny_classifier.batch)))
    for name, ids in feeds.items():
        np.testing.assert_array_equal(ids, kept[name])


def test_outputs_keep_their_memory_with_a_graph(opened: Opened, tiny_classifier: TinyModel) -> None:
    session, engine = opened
    bound = BoundBatch(session, engine.feeds(tiny_classifier.batch), ["logits"], device="cpu", graph=1)
    addresses = set()
    for _ in range(3):
        bound.run()
        addresses.add(bound._binding.get_outputs()[0].data_ptr())
    assert len(addresses) == 1


def test_another_shape_is_refused_and_changes_nothing(opened: Opened, tiny_classifier: TinyModel) -> None:
    session, engine = opened
    batch = tiny_classifier.batch
    bound = BoundBatch(session, engine.feeds(batch), ["logits"], device="cpu")
    shorter = replace(batch, input_ids=batch.input_ids[:, :4])
    with pytest.raises(InputError, match=r"input_ids has shape \[48, 4\] and the memory bound for it \[48, \d+\]"):
        bound.write(engine.feeds(shorter))
    bound.run()
    np.testing.assert_array_equal(bound.read()[0], engine.run(batch, ["logits"])[0])


def test_another_type_is_refused_and_changes_nothing(opened: Opened, tiny_classifier: TinyModel) -> None:
    session, engine = opened
    batch, other = tiny_classifier.batch, other_batch(tiny_classifier.batch)
    bound = BoundBatch(session, engine.feeds(batch), ["logits"], device="cpu")
    feeds = engine.feeds(other)
    wider = {name: ids.astype(np.float64) if name == "input_ids" else ids for name, ids in feeds.items()}
    with pytest.raises(InputError, match="input_ids is float64 and the memory bound for it int64"):
        bound.write(wider)
    bound.run()
    np.testing.assert_array_equal(bound.read()[0], engine.run(batch, ["logits"])[0])


def test_what_was_read_stays_after_the_next_run(opened: Opened, tiny_classifier: TinyModel) -> None:
    session, engine = opened
    batch, other = tiny_classifier.batch, other_batch(tiny_classifier.batch)
    bound = BoundBatch(session, engine.feeds(batch), ["logits"], device="cpu")
    bound.run()
    (first,) = bound.read()
    bound.write(engine.feeds(other))
    bound.run()
    np.testing.assert_array_equal(first, engine.run(batch, ["logits"])[0])
    np.testing.assert_array_equal(bound.read()[0], engine.run(other, ["logits"])[0])
