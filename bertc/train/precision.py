"""In which number format a run multiplies."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from bertc.errors import EnvironmentLackError

CPU_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})
"""Instruction sets that multiply bfloat16; without them it is slower than float32."""


def has_bfloat16(device: torch.device, cpu_features: frozenset[str]) -> bool:
    """Say whether a device multiplies bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(cpu_features & CPU_FEATURES)


def precision_from_name(
    name: str, device: torch.device, cpu_features: frozenset[str]
) -> tuple[str, AbstractContextManager[Any]]:
    """Return "fp32" or "bf16" and its context for forward passes (it can be entered again and again).

    "auto" is bf16 where the device multiplies it itself. Raises `EnvironmentLackError` for a bf16 that a GPU has not.
    """
    present = has_bfloat16(device, cpu_features)
    if name == "bf16" and device.type == "cuda" and not present:
        raise EnvironmentLackError(f"{torch.cuda.get_device_name(device)} has no bfloat16; train with --precision fp32")
    chosen = "bf16" if name == "bf16" or (name == "auto" and present) else "fp32"
    return chosen, torch.autocast(device.type, dtype=torch.bfloat16, enabled=chosen == "bf16")
