"""T5's encoder on the native engine: RMSNorm, scores without a scale, a bias by distance, in every mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.graph.encoder import graph_from_checkpoint
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Activation, Op, Rows, Step, Type
from tests.native_reference import run_plan
from tests.runtime.native.plan_of_one import WORDS, PlanOfOne
from tests.runtime.plan.test_compile import BATCHES, FEATURES, SCHEMES, check_same, compiled, int8_graph, scheme
from tests.tiny import TinyModel, calibrated, rms
from tests.tiny_families import write_tiny_family


def tiny_encoder(folder: Path, task: str = "feature-extraction", **changes: Any) -> TinyModel:
    checkpoint = checkpoint_from_path(write_tiny_family(folder / "model", "t5", task=task, **changes))
    graph = graph_from_checkpoint(checkpoint)
    return TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))


@pytest.mark.parametrize("chosen", [None, *SCHEMES])
@pytest.mark.parametrize("task", ["feature-extraction", "token-classification"])
def test_t5_in_every_mode(task: str, chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    model = tiny_encoder(tmp_path, task)
    whole = model.graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, model.graph, batch)
    plan, arrays = compiled(whole)
    norms = [step for step in plan.steps if step.op is Op.NORM]
    assert len(norms) == 5 and all(step.flag and step.gamma and not step.beta for step in norms)
    attentions = [step for step in plan.steps if step.op is Op.ATTENTION]
    assert [step.n for step in attentions] == [48, 48]
    assert len({step.distance_bias for step in attentions}) == 1 and arrays[attentions[0].distance_bias].any()
    gated = [step for step in plan.steps if step.gated]
    assert len(gated) == 2 and all(step.activation is Activation.GELU_TANH for step in gated)
    if chosen is not None:
        assert all(plan.buffers[step.inputs[0]].type is Type.U8 for step in attentions)
        # What is added stays in float: only products have codes.
        assert all(plan.buffers[step.residual].type is Type.F32 for step in plan.steps if step.residual != NO_BUFFER)


def test_t5_s_scores_have_no_scale(tmp_path: Path) -> None:
    plan, _ = compiled(tiny_encoder(tmp_path).graph)
    assert [step.scaling for step in plan.steps if step.op is Op.ATTENTION] == [1.0, 1.0]


def test_t5_s_first_feed_forward_is_relu_without_a_gate(tmp_path: Path) -> None:
    model = tiny_encoder(tmp_path, feed_forward_proj="relu")
    for whole in (model.graph, int8_graph(model, scheme("2", "channel"))):
        check_same(whole, model.graph, BATCHES["packed"])
        steps = [step for step in compiled(whole)[0].steps if step.activation is Activation.RELU]
        assert len(steps) == 2 and not any(step.gated for step in steps)


@pytest.mark.native
@pytest.mark.parametrize("quantize", [False, True])
def test_the_engine_answers_as_its_plan_in_numpy(quantize: bool, instruction_set: str, tmp_path: Path) -> None:
    model = tiny_encoder(tmp_path)
    plan, arrays = compiled(int8_graph(model, scheme("2", "channel")) if quantize else model.graph)
    names = [output.name for output in plan.outputs]
    for batch in BATCHES.values():
        expected = run_plan(plan, arrays, batch)
        with NativeEngine(plan, arrays, threads=2, instruction_set=instruction_set) as engine:
            found = engine.run(batch, names)
        for name, values in zip(names, found, strict=True):
            # A number between two codes may get either of them.
            error = rms(values - expected[name])
            assert error <= (0.02 if quantize else 1e-5) * rms(expected[name])


@pytest.mark.native
@pytest.mark.parametrize("n", [16, 48, 100])
@pytest.mark.parametrize("in_codes", [False, True])
def test_an_rms_norm_takes_no_mean_off(in_codes: bool, n: int, instruction_set: str) -> None:
    """Rows whose mean is far from 0 tell it from a LayerNorm."""
    generator = np.random.default_rng(n)
    plan = PlanOfOne(generator.normal(30, 1, (WORDS, n)), [1, 60, 17])
    step = Step(
        op=Op.NORM,
        name="normed",
        rows=Rows.TOKENS,
        inputs=(0, -1, -1),
        n=n,
        flag=1,
        epsilon=1e-6,
        gamma=plan.vector("gamma", generator.normal(1, 0.2, n), n),
        out=plan.buffer(Type.F32, n),
    )
    if in_codes:
        step = replace(step, out_codes=plan.buffer(Type.U8, n), inverse=plan.vector("inverse", 50.0, n), out_zero=10)
    plan.steps.append(step)
    if in_codes:
        shown = {"inputs": (step.out_codes, -1, -1), "out": plan.buffer(Type.F32, n)}
        plan.steps.append(Step(op=Op.FINISH, name="shown codes", rows=Rows.TOKENS, k=n, n=n, **shown))
    numpy, ours = plan.outputs(instruction_set)
    if in_codes:  # a number between two codes may get either
        assert np.abs(ours - numpy).max() <= 1 and np.mean(ours != numpy) < 0.005
        assert numpy[0, 0].mean() > 50
    else:
        np.testing.assert_allclose(ours, numpy, rtol=2e-6)
        assert numpy[0, 0].mean() > 0.8
