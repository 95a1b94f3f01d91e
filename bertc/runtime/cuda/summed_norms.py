"""Sums that only a norm reads: the product leaves the addition to the norm, which reads the rows anyway.

A product's tile would have to fetch the residual in the layout of its sums; a norm reads whole rows one behind the
other. What is between the two is as small as it can be: codes, where the product requantizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bertc.runtime.plan.kernel_plan import NO_BUFFER, Activation, Op, Plan, Step


@dataclass(frozen=True, slots=True)
class SummedNorm:
    """A product with a residual, and the norm of it."""

    product: Step
    norm: Step


Call = Step | SummedNorm
"""What is launched together."""


def calls_of_plan(plan: Plan) -> tuple[Call, ...]:
    """Return a plan's steps in their order, those that belong together joined."""
    kept = {output.buffer for output in plan.outputs}
    calls: list[Call] = []
    steps = list(plan.steps)
    while steps:
        step = steps.pop(0)
        if steps and _joins(step, steps[0]) and not _read_later(step.out, steps[0], steps[1:], kept):
            calls.append(SummedNorm(step, steps.pop(0)))
        else:
            calls.append(step)
    return tuple(calls)


def _joins(product: Step, norm: Step) -> bool:
    """Say whether a step is a plain sum that the next one normalizes."""
    plain = product.activation is Activation.NONE and not product.gated and not product.inverse
    # A float product that is requantized is rare, and where it is float32 no kernel gives its codes.
    summed = product.op is Op.GEMM_INT8 or (product.op is Op.GEMM_F32 and not product.requant)
    summed = summed and product.residual != NO_BUFFER and plain
    same = product.n == norm.n and product.rows == norm.rows and norm.in_column[0] == product.out_column == 0
    return summed and norm.op is Op.NORM and norm.inputs[0] == product.out and same


def _read_later(buffer: int, norm: Step, steps: Sequence[Step], kept: set[int]) -> bool:
    """Say whether a buffer is read again behind the norm before it is written anew."""
    if buffer in norm.written():
        return False
    for step in steps:
        if buffer in step.read():
            return True
        if buffer in step.written():
            return False
    return buffer in kept
