"""A plan run in numpy as the engine of `cuda-fp8` runs it: E4M3 where the native engine has INT8, sums in float64.

Weights are those that the engine itself makes of a plan (`Operands`); codes are rounded by torch. Probabilities have
none, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from bertc.core.batch import Batch
from bertc.ir.affine import E4M3_MAX, TO_E4M3
from bertc.runtime.cuda.operands import Operands
from bertc.runtime.plan.kernel_plan import Op, Plan, Step, Type, padded
from tests.native_reference import F32, Array, Run


def e4m3(numbers: Array) -> Array:
    """Round to E4M3, to even, saturated."""
    within = torch.from_numpy(np.clip(numbers, -E4M3_MAX, E4M3_MAX).astype(F32))
    return within.to(torch.float8_e4m3fn).float().numpy()


class Fp8Run(Run):
    """Buffers of codes have E4M3 numbers, as floats."""

    def __init__(self, plan: Plan, arrays: Mapping[str, Array], batch: Batch) -> None:
        super().__init__(plan, arrays, batch)
        self.operands = Operands(arrays, torch.device("cpu"))
        self.coded = {number for number, buffer in enumerate(plan.buffers) if buffer.type is Type.U8}
        for number in self.coded:
            self.buffers[number] = np.zeros(self.buffers[number].shape, F32)

    def array(self, step: Step, field: str) -> Array | None:
        """Return vectors for E4M3's codes: a code is more of a step, and means less."""
        found = super().array(step, field)
        if found is not None and field == "inverse":
            return found * F32(TO_E4M3)
        if found is not None and field == "scale" and step.inputs[0] in self.coded:
            return found / F32(TO_E4M3 ** (2 if step.op is Op.GEMM_INT8 else 1))
        return found

    def codes(self, step: Step, y: Array) -> Array:
        """Return E4M3 numbers."""
        inverse = self.array(step, "inverse")
        assert inverse is not None
        return e4m3(y * inverse[: y.shape[1]])

    def centred(self, step: Step, columns: int, place: int = 0) -> Array:
        """Return numbers, or codes, which have no zero point."""
        return self.read(step, columns, place)

    def write(self, step: Step, y: Array) -> None:
        """Write numbers, or their codes."""
        values = self.codes(step, y) if step.out in self.coded else y
        self.buffers[step.out][:, step.out_column : step.out_column + y.shape[1]] = values

    def step(self, step: Step) -> None:
        """Run a step."""
        if step.op is Op.GEMM_INT8:
            weights = self.operands.weights(step, torch.float8_e4m3fn).double().numpy()
            codes = self.read(step, padded(step.k)).astype(np.float64)
            self.finish(step, codes @ weights[:, : codes.shape[1]].T)
            return
        if step.op is Op.ATTENTION and step.inputs[0] in self.coded:
            step = replace(step, scaling=step.scaling / TO_E4M3**2, context_scale=step.context_scale / TO_E4M3)
        super().step(step)
