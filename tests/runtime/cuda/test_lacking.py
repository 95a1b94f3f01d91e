"""What the engine for GPUs has no kernel for is refused by name, without torch, Triton or a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bertc.errors import InputError
from bertc.runtime.cuda.lacking import FLOAT_ROLES, KERNELS, check_steps
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Op
from tests.runtime.plan.compiled_plans import Compiled, changed, number_of
from tests.tiny import TinyModel, quantized, tiny_scheme


@pytest.fixture
def symmetric(tiny_classifier: TinyModel) -> Compiled:
    """Mode 3 without zero points, as the target has it."""
    return plan_from_graph(
        quantized(tiny_classifier, tiny_scheme("3", "channel").without_roles(frozenset(FLOAT_ROLES))).graph
    )


def test_a_model_without_more_than_bert_has_passes(symmetric: Compiled, tiny_classifier: TinyModel) -> None:
    check_steps(symmetric[0].steps, "int8")
    mode_1 = quantized(tiny_classifier, tiny_scheme("1").without_roles(frozenset(FLOAT_ROLES))).graph
    check_steps(plan_from_graph(mode_1)[0].steps, "fp8")


def test_turns_and_windows_pass_but_for_codes_with_a_zero_point(turned: Compiled) -> None:
    steps = [step for step in turned[0].steps if step.op is Op.ROTARY]
    local = [step for step in turned[0].steps if step.near]
    assert local and steps and all(step.inverse for step in steps)
    check_steps([*steps, *(replace(step, flag=0, scores_requant=0.0) for step in local)], "int8")
    with pytest.raises(InputError, match="codes with a zero point"):
        check_steps([replace(steps[0], out_zero=127)], "int8")


@pytest.mark.parametrize("plan", ["distant", "biased"])
def test_what_distances_add_passes_but_for_codes_of_scores(plan: str, request: pytest.FixtureRequest) -> None:
    compiled: Compiled = request.getfixturevalue(plan)
    steps = [step for step in compiled[0].steps if step.op is Op.ATTENTION]
    assert all(step.distances or step.distance_bias for step in steps)
    size = 32 * steps[0].heads  # the width of the tiny T5's heads is none that there is a kernel for
    check_steps([replace(step, flag=0, scores_requant=0.0, inverse="", n=size) for step in steps], "int8")
    with pytest.raises(InputError, match="has no kernel for codes of probabilities and scores; build it with"):
        check_steps([replace(step, flag=1) for step in steps], "int8")


def test_texts_that_leave_are_named(leaving: Compiled) -> None:
    exits = [step for step in leaving[0].steps if step.op is Op.EXIT]
    assert exits
    with pytest.raises(InputError, match="has no kernel for texts that leave"):
        check_steps(exits, "int8")


def test_heads_of_another_width_are_named(symmetric: Compiled) -> None:
    plan = changed(symmetric[0], number_of(symmetric[0], Op.ATTENTION), heads=8)
    with pytest.raises(InputError, match="heads of 8"):
        check_steps(plan.steps, "int8")


def test_fp8_takes_mode_1_alone(symmetric: Compiled) -> None:
    with pytest.raises(InputError, match="the codes of mode 2 in FP8"):
        check_steps(symmetric[0].steps, "fp8")


@pytest.mark.triton
def test_every_other_step_has_a_launch() -> None:
    pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")
    from bertc.runtime.cuda.step_launch import LAUNCHES

    assert set(LAUNCHES) == KERNELS
