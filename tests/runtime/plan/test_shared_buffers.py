"""Values that share a buffer never live at the same time, and answers stay the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Op, Output, Plan, Rows, Step, Type
from bertc.runtime.plan.shared_buffers import share_buffers

WIDE = Buffer(type=Type.F32, rows=Rows.TOKENS, width=64)


def step(name: str, out: int, *read: int, residual: int = NO_BUFFER) -> Step:
    inputs = (*read, NO_BUFFER, NO_BUFFER, NO_BUFFER)[:3]
    return Step(op=Op.FINISH, name=name, rows=Rows.TOKENS, n=64, out=out, inputs=inputs, residual=residual)


def plan_of(*steps: Step, outputs: tuple[int, ...], buffers: tuple[Buffer, ...] | None = None) -> Plan:
    most = max(step.out for step in steps) + 1
    return Plan(
        steps=steps,
        buffers=buffers or (WIDE,) * most,
        outputs=tuple(Output(name=str(each), buffer=each, columns=1, per_token=True) for each in outputs),
    )


def test_a_chain_takes_two_buffers() -> None:
    plan = share_buffers(plan_of(step("a", 0), *(step(str(n), n, n - 1) for n in range(1, 9)), outputs=(8,)))
    assert len(plan.buffers) == 2
    assert [each.out for each in plan.steps] == [0, 1] * 4 + [0] and plan.outputs[0].buffer == 0


def test_a_residual_that_dies_is_written_over() -> None:
    plan = share_buffers(plan_of(step("a", 0), step("b", 1, 0), step("c", 2, 1, residual=0), outputs=(2,)))
    assert plan.steps[2].out == plan.steps[2].residual == 0 and len(plan.buffers) == 2


@pytest.mark.parametrize("outputs", [(0, 2), (3,)])
def test_a_residual_that_lives_on_is_kept(outputs: tuple[int, ...]) -> None:
    steps = [step("a", 0), step("b", 1, 0), step("c", 2, 1, residual=0), step("d", 3, 0)]
    plan = share_buffers(plan_of(*steps, outputs=outputs))
    assert plan.steps[2].out != plan.steps[2].residual


def test_a_residual_that_is_the_input_too_is_kept() -> None:
    plan = share_buffers(plan_of(step("a", 0), step("b", 1, 0, residual=0), outputs=(1,)))
    assert plan.steps[1].out != plan.steps[1].residual == plan.steps[1].inputs[0]


def test_other_shapes_do_not_share() -> None:
    others = (replace(WIDE, type=Type.U8), replace(WIDE, rows=Rows.TEXTS), replace(WIDE, width=128))
    for other in others:
        steps = (step("a", 0), step("b", 1, 0), step("c", 2, 1))
        plan = share_buffers(plan_of(*steps, outputs=(2,), buffers=(WIDE, WIDE, other)))
        assert len(plan.buffers) == 3 and plan.buffers[plan.steps[2].out] == other


def test_outputs_are_never_written_over() -> None:
    plan = share_buffers(plan_of(step("a", 0), step("b", 1, 0), step("c", 2, 1), step("d", 3, 2), outputs=(0, 3)))
    assert plan.outputs[0].buffer not in [each.out for each in plan.steps[1:]]
