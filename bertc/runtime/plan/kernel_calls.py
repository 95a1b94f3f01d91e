"""What an engine calls for a plan, counted for the report."""

from __future__ import annotations

from collections import Counter

from bertc.core.versions import __version__
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.runtime.plan.kernel_plan import Op, Plan, Step

SPARSE = "gemm_int8_sparse"
"""What products that skip the zeros of 2:4 weights are counted as."""

BF16 = "gemm_bf16"
"""What float products whose operands are rounded to BF16 are counted as."""


def optimized_from_plan(plan: Plan, where: str) -> Optimized:
    """Count what a plan calls; `where` is what runs it. Products that were written as one count as several."""
    gemms: Counter[str] = Counter()
    for step in plan.steps:
        if step.op in (Op.GEMM_INT8, Op.GEMM_F32):
            products = sum(name.startswith("layer.") for name in _products(step))
            gemms[_kernel(step)] += 0 if step.gated else products  # the other half of its product was counted
    floats = [step for step in plan.steps if step.op is Op.GEMM_F32]
    attentions = [step for step in plan.steps if step.op is Op.ATTENTION]
    return Optimized(
        runtime=f"bertc {__version__} ({where})",
        requirement=f"bertc=={__version__}",
        fused={
            "attention": len(attentions),
            INT8_ATTENTION: sum(_in_codes(step) for step in attentions),
            "layer_norm": sum(step.op is Op.NORM and not step.name.startswith("head.") for step in plan.steps),
        },
        gemms_int8=gemms["gemm_int8"] + gemms[SPARSE],
        gemms_float=gemms["gemm_f32"] + gemms[BF16],
        gemms_sparse=gemms[SPARSE],
        operators=dict(Counter(_kernel(step) for step in plan.steps)),
        float_gemms=tuple(name for step in floats for name in _products(step)),
        bf16_gemms=tuple(name for step in floats if step.flag for name in _products(step)),
    )


def _products(step: Step) -> list[str]:
    """Return the names of the products that a step computes; those of one source may be written as one."""
    return step.name.split("+")


def _kernel(step: Step) -> str:
    flagged = {Op.GEMM_INT8: SPARSE, Op.GEMM_F32: BF16}
    return flagged[step.op] if step.flag and step.op in flagged else step.op.name.lower()


def _in_codes(attention: Step) -> bool:
    return bool(attention.flag and attention.in_zero)
