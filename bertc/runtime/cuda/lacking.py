"""What of a plan the engine for GPUs has no kernel for: said without torch or Triton, before a GPU is looked for."""

from __future__ import annotations

from collections.abc import Sequence

from bertc.errors import InputError
from bertc.ir.refusal import ELSEWHERE
from bertc.ir.sites import Role
from bertc.runtime.plan.kernel_plan import Op, Step

HEAD_SIZES = frozenset({16, 32, 64, 128})
"""Sizes of heads that attention is written for: powers of two that fill a tensor core."""

SYMMETRIC = 128
"""The zero point, as a plan stores it, of codes that have none."""

FLOAT_ROLES = {
    Role.PROBS: "attention's second product takes FP16 probabilities, which one pass over the keys gives",
    Role.SCORES: "attention's scores are never stored",
}
"""What it has in float, whatever the mode."""

KERNELS = frozenset(Op) - {Op.EXIT}
"""Steps that there is a kernel for."""


def check_steps(steps: Sequence[Step], precision: str) -> None:
    """Raise `InputError` for a step that the engine has no kernel for."""
    for step in steps:
        lack = _lack(step, precision)
        if lack:
            raise InputError(f"{step.name}: the engine for GPUs has no kernel for {lack}; {ELSEWHERE}")


def _lack(step: Step, precision: str) -> str:
    if step.op not in KERNELS:
        return "texts that leave"
    if step.op is Op.ATTENTION:
        if step.flag or step.scores_requant:
            return "codes of probabilities and scores"
        if step.n // step.heads not in HEAD_SIZES:
            return f"heads of {step.n // step.heads}"
    zeros = [step.out_zero] * bool(step.inverse) + [step.residual_zero] * bool(step.residual_scale)
    if any(zero != SYMMETRIC for zero in zeros):
        return "codes with a zero point"
    if precision == "fp8" and (step.requant or step.residual_scale):
        return "the codes of mode 2 in FP8"
    return ""
