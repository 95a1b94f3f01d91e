"""What a runtime made of a model, whichever runtime it is, and whether that is what the layers imply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bertc.errors import EnvironmentLackError

INT8_ATTENTION = "int8_attention"
"""Key of `Optimized.fused`: layers whose two batched products both run in INT8; absent where a runtime never does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimized:
    """What a runtime runs: fused nodes by kind, and the encoder's GEMMs with weights by type.

    `runtime` is its name and version, `requirement` the versions that bertc is tested with, as pip takes them.
    `operators` counts what it calls by kind; `float_gemms` names the products with weights that run in float, the
    head's too, by the values that they give (`+` between those of one call); None where the runtime does not say.
    `bf16_gemms` are those of them whose operands are rounded to BF16, `fp16_gemms` to FP16, where bertc chooses that.
    `gemms_sparse` of the former skip the zeros of 2:4 weights; None where the runtime does not tell.
    `bound_to` names the `device` and `driver` that the model runs on and no other; it is empty where it runs anywhere.
    """

    runtime: str
    requirement: str
    fused: Mapping[str, int]
    gemms_int8: int
    gemms_float: int
    operators: Mapping[str, int]
    float_gemms: tuple[str, ...] | None = None
    bf16_gemms: tuple[str, ...] = ()
    fp16_gemms: tuple[str, ...] = ()
    gemms_sparse: int | None = None
    bound_to: Mapping[str, str] = field(default_factory=dict)


def check_fusion(found: Optimized, *, expected: Mapping[str, int], gemms_int8: int) -> None:
    """Compare what a runtime runs with what the layers imply. Raises `EnvironmentLackError` when it is less."""
    counts = {name: (found.fused[name], number) for name, number in expected.items()}
    counts["INT8 GEMMs"] = (found.gemms_int8, gemms_int8)
    wrong = [f"{name}: {ran} of {implied}" for name, (ran, implied) in counts.items() if ran != implied]
    if wrong:
        raise EnvironmentLackError(
            f"{found.runtime} did not fuse the model as its layers imply ({', '.join(wrong)}); install a version that "
            f"bertc was tested with (pip install '{found.requirement}')"
        )
