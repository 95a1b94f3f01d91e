"""Target `openvino`: static INT8 on OpenVINO's CPU kernels, attention's two products included."""

from __future__ import annotations

from collections.abc import Mapping

from bertc.errors import EnvironmentLackError
from bertc.export.openvino import lower as openvino
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.runtime.machine.cpu import VNNI_FEATURES, Cpu
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.runtime.optimized import INT8_ATTENTION
from bertc.runtime.served import PYTHON
from bertc.targets import Target
from bertc.targets._openvino import lower_graph

ATTENTION_OPERANDS = (Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS)


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm, and INT8 attention where all operands of its two products are quantized."""
    int8 = 0
    if scheme is not None:
        int8 = sum(all(scheme.quantizes(Site(layer, role)) for role in ATTENTION_OPERANDS) for layer in range(layers))
    return {"layer_norm": 2 * layers + 1, INT8_ATTENTION: int8}


def check_vnni(cpu: Cpu) -> None:
    """Refuse a CPU whose products saturate (OpenVINO's documentation, "Saturation (overflow) Issue Workaround")."""
    if cpu.saturates:
        raise EnvironmentLackError(
            f"{cpu.model} has no VNNI instructions, and OpenVINO's INT8 product saturates without them; build with "
            "--target native or ort-cpu here, or on a machine with AVX-512 VNNI, AVX-VNNI or AMX"
        )


TARGET = Target(
    name="openvino",
    summary="static INT8 with INT8 attention on OpenVINO (extra openvino)",
    runtime=OpenvinoRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=PYTHON,
    static_int8=True,
    zero_points=True,
    precision="int8",
    float_roles=openvino.FLOAT_ROLES,
    demands=tuple(sorted(VNNI_FEATURES)),
    check_cpu=check_vnni,
    packs_rows=True,
)
