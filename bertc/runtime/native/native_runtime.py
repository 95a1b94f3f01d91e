"""The native engine as a runtime: a graph compiled to a plan, beside the same graph as ONNX for every other tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bertc.core.progress import SILENCE, Progress
from bertc.errors import EnvironmentLackError
from bertc.ir.standard import standard_from_graph, write_zero_points
from bertc.runtime.engine import Engine
from bertc.runtime.native.bf16_choice import choose_bf16
from bertc.runtime.native.library import check_library, digest_of_library, instruction_sets
from bertc.runtime.native.native_engine import open_plan
from bertc.runtime.native.sparse_choice import choose_sparse
from bertc.runtime.optimized import Optimized
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_calls import optimized_from_plan
from bertc.runtime.plan.plan_files import ARRAYS, PLAN, read_plan, write_plan
from bertc.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

ONNX = "model.onnx"


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
        return write_zero_points(standard_from_graph(lowered))

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
        return optimized_from_plan(read_plan(model)[0], instruction_sets()[0])
