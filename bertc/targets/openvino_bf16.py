"""Target `openvino-bf16`: the target `openvino-float` in BF16, where the CPU multiplies it."""

from __future__ import annotations

from dataclasses import replace

from bertc.errors import EnvironmentLackError
from bertc.runtime.machine.cpu import BF16_FEATURES, Cpu
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.targets import openvino_float


def check_bf16(cpu: Cpu) -> None:
    """Refuse a CPU that would compute BF16 with FP32 instructions."""
    if cpu.features_known and not cpu.features & BF16_FEATURES:
        raise EnvironmentLackError(
            f"{cpu.model} has no BF16 instructions (AVX512-BF16 or AMX-BF16); build with --target openvino-float here"
        )


TARGET = replace(
    openvino_float.TARGET,
    name="openvino-bf16",
    summary="BF16 on OpenVINO, on CPUs that multiply it (extra openvino)",
    runtime=OpenvinoRuntime(precision="bf16"),
    no_int8="it is BF16; the target openvino is OpenVINO's INT8",
    demands=tuple(sorted(BF16_FEATURES)),
    check_cpu=check_bf16,
)
