"""The native engine as a runtime: a graph compiled to a plan, beside the same graph as ONNX for every other tool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bertc.core.progress import SILENCE, Progress
from bertc.core.versions import __version__
from bertc.errors import EnvironmentLackError
from bertc.ir.standard import standard_from_graph
from bertc.runtime.engine import Engine
from bertc.runtime.native.bf16_choice import choose_bf16
from bertc.runtime.native.compile import plan_from_graph
from bertc.runtime.native.kernel_plan import Op, Plan, Step
from bertc.runtime.native.library import check_library, digest_of_library, instruction_sets
from bertc.runtime.native.native_engine import open_plan
from bertc.runtime.native.plan_files import ARRAYS, PLAN, read_plan, write_plan
from bertc.runtime.native.sparse_choice import choose_sparse
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

ONNX = "model.onnx"
SPARSE = "gemm_int8_sparse"
"""What products that skip the zeros of 2:4 weights are counted as."""

BF16 = "gemm_bf16"
"""What float products whose operands are rounded to BF16 are counted as."""


@dataclass(frozen=True, slots=True)
class NativeRuntime(Runtime):
    """bertc's own kernels."""

    library: ClassVar[str] = "bertc"
    model_files: ClassVar[tuple[str, ...]] = (PLAN, ARRAYS)
    companion_files: ClassVar[tuple[str, ...]] = (ONNX,)
    sparsity: ClassVar[str] = ""

    @property
    def build(self) -> str:
        """Return the library's digest and the instruction set that it takes here; empty where there is no library."""
        try:
            return f"{digest_of_library()} {instruction_sets()[0]}"
        except EnvironmentLackError:
            return ""

    def check_here(self, attention: str | None) -> None:
        """Refuse where the library was not built."""
        check_library()

    def onnx_graph(self, lowered: ir.Model) -> ir.Model:
        """Return the graph in standard operators alone."""
        return standard_from_graph(lowered)

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write plan and arrays, 2:4 and float weights in the form that is faster here, and the ONNX file."""
        import onnx_ir as ir

        path = write_plan(*choose_bf16(*choose_sparse(*plan_from_graph(lowered))), folder)
        ir.save(self.onnx_graph(lowered), folder / ONNX)
        return path

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Map the arrays and open the plan with the best kernels that this CPU has."""
        return open_plan(model, threads=threads)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Count the plan's kernel calls."""
        return optimized_from_plan(read_plan(model)[0])


def optimized_from_plan(plan: Plan) -> Optimized:
    """Count what a plan calls. Products that were written as one count as many as they were."""
    gemms: Counter[str] = Counter()
    for step in plan.steps:
        if step.op in (Op.GEMM_INT8, Op.GEMM_F32):
            products = sum(name.startswith("layer.") for name in _products(step))
            gemms[_kernel(step)] += 0 if step.gated else products  # the other half of its product was counted
    floats = [step for step in plan.steps if step.op is Op.GEMM_F32]
    attentions = [step for step in plan.steps if step.op is Op.ATTENTION]
    return Optimized(
        runtime=f"bertc {__version__} ({instruction_sets()[0]})",
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
