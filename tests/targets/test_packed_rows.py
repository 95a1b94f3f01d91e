"""Every target that packs rows answers packed texts as texts in rows of their own: exactly in float, nearly in INT8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head, Pooling
from bertc.core.plugins import TARGETS
from bertc.errors import EnvironmentLackError
from bertc.ir.interpret import Interpreter
from bertc.runtime.batch_plan import packed_rows
from bertc.runtime.machine.cpu import cpu_features
from bertc.targets import Target, target_from_name
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, Array, TinyModel, quantized, rms, tiny_model, tiny_scheme

BAR = 0.3
"""Largest rms(packed - apart) over rms(engine - float): what docs/modes.md allows between two ways of computing."""

PACKING = [name for name in TARGETS.names() if target_from_name(name).packs_rows]
MODES = [("1", None), ("2", None), ("2", "channel")]


def test_the_cpu_targets_pack() -> None:
    assert {"float", "ort-cpu", "ort-cpu-dynamic", "openvino"} <= set(PACKING)


@pytest.fixture(params=PACKING)
def target(request: pytest.FixtureRequest) -> Target:
    """A target whose library is here and whose INT8 this CPU computes exactly."""
    found = target_from_name(request.param)
    try:
        found.check_machine(cpu_features())
    except EnvironmentLackError as lack:
        pytest.skip(str(lack))
    return found


def batches(model: TinyModel) -> tuple[Batch, Batch]:
    """The model's texts packed, the last row full, and in the same order apart."""
    lengths = [feature.length for feature in model.features]
    rows = sorted(packed_rows(lengths, 64), key=lambda row: sum(lengths[place] for place in row))
    packed = packed_batch_from_features(model.features, rows)
    assert packed.starts and packed.input_ids.size < 0.9 * model.batch.input_ids.size
    return packed, batch_from_features(model.features, packed.order)


def answers(target: Target, path: Path, batch: Batch, name: str, model: TinyModel) -> Array:
    """Run an output; what has one entry per token comes as one array of all the texts' tokens."""
    engine = target.runtime.engine_from_path(path, threads=1)
    try:
        (values,) = engine.run(batch, [name])
    finally:
        engine.close()
    if values.shape[:2] != batch.mask.shape:
        return values
    spans = [(*batch.start(number), model.features[place].length) for number, place in enumerate(batch.order)]
    return np.concatenate([values[row, column : column + length] for row, column, length in spans])


def written(target: Target, model: TinyModel, folder: Path, mode: str, granularity: str | None) -> Path:
    graph = model.graph
    if target.static_int8:
        scheme = tiny_scheme(mode, granularity).without_roles(frozenset(target.float_roles))
        graph = quantized(model, scheme).graph
    return target.runtime.write_model(target.onnx_from_graph(graph), folder)


def check(target: Target, model: TinyModel, folder: Path, mode: str = "1", granularity: str | None = None) -> None:
    """Compare every output, packed and apart; with the mask's numbers wiped off it would not pass."""
    path = written(target, model, folder, mode, granularity)
    packed, apart = batches(model)
    blind = replace(packed, mask=np.minimum(packed.mask, 1))
    expected = Interpreter(model.graph).run(apart)
    for name in OUTPUTS[model.checkpoint.head.task]:
        first, second, third = (answers(target, path, batch, name, model) for batch in (packed, apart, blind))
        reference = expected[name]
        if reference.shape[:2] == apart.mask.shape:
            reference = reference[apart.mask.astype(bool)]
        assert first.shape == second.shape == reference.shape
        lost = rms(second - reference)
        if not target.runtime.optimized_from_path(path).gemms_int8:
            assert np.abs(first - second).max() < 1e-4
        else:
            limit = BAR if target.static_int8 else 1.5  # dynamic ranges are those of whatever shares the batch
            assert 0 < rms(first - reference) < 1.2 * lost and rms(first - second) <= limit * lost
        if third.shape == first.shape:
            assert rms(third - reference) > 3 * lost + 1e-3


@pytest.mark.parametrize("task", OUTPUTS)
def test_every_task_answers_packed_texts_as_texts_apart(
    task: str, target: Target, tiny_of: TinyOf, tmp_path: Path
) -> None:
    check(target, tiny_of(task), tmp_path)


@pytest.mark.parametrize("mode, granularity", MODES[1:])
def test_every_mode_packs(
    mode: str, granularity: str | None, target: Target, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    if not target.static_int8:
        pytest.skip("has no modes")
    check(target, tiny_classifier, tmp_path, mode, granularity)


@pytest.mark.parametrize("pooling", Pooling)
def test_every_pooling_packs(pooling: Pooling, target: Target, tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=pooling, normalize=True)
    check(target, tiny_model(tmp_path / "model", task="feature-extraction", head=head), tmp_path)


def test_an_ordinary_batch_after_a_packed_one_is_as_before(
    target: Target, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path = written(target, tiny_classifier, tmp_path, "1", None)
    packed, apart = batches(tiny_classifier)
    engine = target.runtime.engine_from_path(path, threads=1)
    try:
        (before,) = engine.run(apart, ["logits"])
        engine.run(packed, ["logits"])
        (after,) = engine.run(apart, ["logits"])
    finally:
        engine.close()
    np.testing.assert_array_equal(before, after)


def test_the_fusions_of_a_packing_graph_are_complete(
    target: Target, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path = written(target, tiny_classifier, tmp_path, "1", None)
    found = target.runtime.optimized_from_path(path)
    scheme = tiny_scheme("1").without_roles(frozenset(target.float_roles)) if target.static_int8 else None
    expected = target.expected_fusion(scheme, LAYERS)
    assert {name: found.fused[name] for name in expected} == dict(expected)
    assert found.gemms_int8 + found.gemms_float == 6 * LAYERS
