"""Targets that were asked for and cannot be: INT8 from one that has none, one where several are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertc.core.plugins import TARGETS
from bertc.errors import InputError

if TYPE_CHECKING:
    from bertc.recipe import Recipe


def check_precision(recipe: Recipe, flags: Mapping[str, Any]) -> None:
    """Refuse --int8-mode for a target that is not INT8; a recipe has a mode even where nobody asked for one."""
    from bertc.targets import target_from_name

    if flags.get("quantization__mode") is None:
        return
    for name in recipe.engine.targets:
        reason = target_from_name(name).no_int8 if name in TARGETS.names() else ""  # auto-cpu is several
        if reason:
            raise InputError(f"the target {name} takes no --int8-mode: {reason}")


def check_single_target(recipe: Recipe) -> None:
    """Refuse the choice among targets where there is no data to choose by."""
    from bertc.recipe import AUTO_TARGET

    if recipe.engine.target == AUTO_TARGET:
        raise InputError(f"{AUTO_TARGET} is for bertc build, which measures the targets; name one with --target")
    if len(recipe.engine.targets) > 1:
        raise InputError(f"--target {recipe.engine.target} names several, which is for bertc build; name one")
