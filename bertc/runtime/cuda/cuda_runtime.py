"""The engine for NVIDIA GPUs as a runtime: a graph compiled to a plan, beside the same graph as ONNX for others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bertc.cache.store import default_cache_directory
from bertc.core.progress import SILENCE, Progress
from bertc.ir.standard import standard_from_graph, write_zero_points
from bertc.runtime.cuda import library
from bertc.runtime.cuda.lacking import check_steps
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_calls import optimized_from_plan
from bertc.runtime.plan.kernel_plan import Op, Plan, Rows
from bertc.runtime.plan.plan_files import ARRAYS, PLAN, read_plan, write_plan
from bertc.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

ONNX = "model.onnx"
TUNING = "cuda-tuning.json"
"""In the cache's folder: the fastest way to launch each kernel, by GPU."""


@dataclass(frozen=True, slots=True)
class CudaRuntime(Runtime):
    """bertc's own kernels in Triton. `precision` is what codes, or float products, are on the GPU."""

    precision: Literal["int8", "fp8", "float16"] = "int8"

    library: ClassVar[str] = "bertc"
    on_gpu: ClassVar[bool] = True
    model_files: ClassVar[tuple[str, ...]] = (PLAN, ARRAYS)
    companion_files: ClassVar[tuple[str, ...]] = (ONNX,)
    sparsity: ClassVar[str] = "its kernels multiply by zeros as by any other number"

    @property
    def build(self) -> str:
        """Return the GPU's name and Triton's version, on which the order of sums depends; empty without them."""
        return library.build_here()

    def check_here(self, attention: str | None) -> None:
        """Refuse where torch, Triton or a GPU is missing; Triton's interpreter needs no GPU."""
        library.check_here(self.precision)

    def onnx_graph(self, lowered: ir.Model) -> ir.Model:
        """Return the graph in standard operators alone."""
        return write_zero_points(standard_from_graph(lowered))

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write plan and arrays, and the ONNX file. Raises `InputError` for what there is no kernel for."""
        import onnx_ir as ir

        plan, arrays = plan_from_graph(lowered)
        check_steps(plan.steps, self.precision)
        path = write_plan(plan, arrays, folder)
        ir.save(self.onnx_graph(lowered), folder / ONNX)
        return path

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Copy the weights to the GPU; threads do not matter.

        Which launches were the fastest is kept in `cache`, and without one in bertc's own folder: Triton keeps its
        compiled kernels in one of its own too, and without both the first batch of each size takes a minute.
        """
        library.check_here(self.precision)
        from bertc.runtime.cuda.cuda_engine import CudaEngine

        plan, arrays = read_plan(model)
        tuned = (default_cache_directory() if cache is None else cache) / TUNING
        return CudaEngine(plan, arrays, precision=self.precision, tuned=tuned)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Count the plan's kernel calls."""
        plan, _ = read_plan(model)
        found = optimized_from_plan(plan, self.build)
        return replace(found, fp16_gemms=tuple(_products_of_tokens(plan)))


def _products_of_tokens(plan: Plan) -> list[str]:
    """Return the float products at a row for each token, which are FP16; at a row for each text they are float32."""
    steps = [step for step in plan.steps if step.op is Op.GEMM_F32]
    found = [step for step in steps if plan.buffers[step.inputs[0]].rows is Rows.TOKENS]
    return [name for step in found for name in step.name.split("+")]
