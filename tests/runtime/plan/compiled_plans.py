"""Plans of tiny models with every kernel and field, and a step of one changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from bertc.runtime.plan.kernel_plan import Op, Plan

Array = NDArray[Any]
Compiled = tuple[Plan, Mapping[str, Array]]


def number_of(plan: Plan, op: Op, place: int = 0) -> int:
    """Return the number of a kernel's step."""
    return [number for number, step in enumerate(plan.steps) if step.op is op][place]


def changed(plan: Plan, number: int, **values: Any) -> Plan:
    """Change fields of a step."""
    steps = list(plan.steps)
    steps[number] = replace(steps[number], **values)
    return replace(plan, steps=tuple(steps))
