"""The buffers of a plan that is checked, and how a damaged plan is refused."""

from __future__ import annotations

from typing import NoReturn

from bertc.errors import InputError
from bertc.runtime.native.kernel_plan import PANEL, Plan

MOST_BUFFERS = 1 << 10
WIDEST = 1 << 20
"""Columns of a buffer."""

WIDEST_TOGETHER = 1 << 22


def refuse(where: str, field: str, what: str) -> NoReturn:
    """Raise `InputError` about a field."""
    raise InputError(f"the plan is damaged: {where}: {field} {what}; build the model again")


def check_buffers(plan: Plan) -> None:
    """Raise `InputError` for a buffer that kernels cannot read whole panels of, or that is too large."""
    for number, buffer in enumerate(plan.buffers):
        if not 0 < buffer.width <= WIDEST or buffer.width % PANEL:
            refuse(f"buffer {number}", "width", f"is {buffer.width}, no multiple of {PANEL} up to {WIDEST}")
    if len(plan.buffers) > MOST_BUFFERS or sum(buffer.width for buffer in plan.buffers) > WIDEST_TOGETHER:
        refuse("the plan", "buffers", "are too many or too wide")
