"""Products that a scheme keeps in float are BF16 where the machine that builds multiplies that faster than float32.

Both operands are rounded to BF16, products and sums are float32, and every instruction set computes the same
(native/bf16.h): the precision is the artefact's, and not that of the machine that opens it. Heads stay in float32, but
for SPLADE's decoder, which is a product for every token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from bertc.runtime.native.library import multiplies_bf16
from bertc.runtime.plan import packing
from bertc.runtime.plan.kernel_plan import Op, Plan, Step

SPARSE_SCORES = "head.scores"
"""The scores of the vocabulary at every token (bertc/tasks/sparse_embedding.py)."""

Arrays = Mapping[str, NDArray[Any]]


def choose_bf16(plan: Plan, arrays: Arrays, *, pays: bool | None = None) -> tuple[Plan, Arrays]:
    """Return the plan with the layers' float products in BF16 if that pays; None asks this machine."""
    if not (multiplies_bf16() if pays is None else pays):
        return plan, arrays
    chosen = {step.weights for step in plan.steps if _is_float(step) and is_of_layer(step)}
    chosen -= {step.weights for step in plan.steps if _is_float(step) and not is_of_layer(step)}
    steps = tuple(replace(step, flag=1) if _is_float(step) and step.weights in chosen else step for step in plan.steps)
    packed = {name: packing.bf16_panels(arrays[name]) for name in chosen}
    return replace(plan, steps=steps), {name: packed.get(name, array) for name, array in arrays.items()}


def is_of_layer(step: Step) -> bool:
    """Say whether a product is one of the encoder's layers, or SPLADE's decoder, and not of another head."""
    return step.name.startswith("layer.") or step.name == SPARSE_SCORES


def _is_float(step: Step) -> bool:
    return step.op is Op.GEMM_F32
