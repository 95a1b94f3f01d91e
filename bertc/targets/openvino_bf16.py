"""Target `openvino-bf16`: BF16 on OpenVINO's CPU kernels, where the CPU multiplies it."""

from __future__ import annotations

from bertc.errors import EnvironmentLackError
from bertc.runtime.machine.cpu import BF16_FEATURES, Cpu
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._openvino import expected_float_fusion, lower_graph


def check_bf16(cpu: Cpu) -> None:
    """Refuse a CPU that would compute BF16 with FP32 instructions."""
    if cpu.features_known and not cpu.features & BF16_FEATURES:
        raise EnvironmentLackError(
            f"{cpu.model} has no BF16 instructions (AVX512-BF16 or AMX-BF16); build with --target openvino-float here"
        )


TARGET = Target(
    name="openvino-bf16",
    summary="BF16 on OpenVINO, on CPUs that multiply it (extra openvino)",
    runtime=OpenvinoRuntime(precision="bf16"),
    lower=lower_graph,
    expected_fusion=expected_float_fusion,
    served=PYTHON,
    no_int8="it is BF16; the target openvino is OpenVINO's INT8",
    demands=tuple(sorted(BF16_FEATURES)),
    check_cpu=check_bf16,
    packs_rows=True,
)
