"""Targets that were asked for and cannot be: INT8 from one that has none, one where several are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertc.core.plugins import TARGETS
from bertc.errors import InputError

if TYPE_CHECKING:
    from bertc.recipe import Recipe


def check_precision(recipe: Recipe, flags: Mapping[str, Any]) -> None:
    """Refuse flags of quantization for a target that has none, and for references with no other target that takes them.

    A recipe has a mode even where nobody asked for one.
    """
    from bertc.recipe.setting import settings_named
    from bertc.targets import target_from_name

    given = [each for each in settings_named("quantization") if flags.get(each.destination) not in (None, ())]
    if not given or not set(recipe.engine.targets) <= set(TARGETS.names()):  # auto-cpu is several
        return
    targets = [target_from_name(name) for name in recipe.engine.targets]
    taken = any(target.static_int8 for target in targets)
    for target in targets:
        reason = target.no_int8 or ("" if taken else f"it is {target.summary}")
        if reason:
            raise InputError(f"the target {target.name} takes no {given[0].about.flag}: {reason}")


def check_single_target(recipe: Recipe) -> None:
    """Refuse the choice among targets where there is no data to choose by."""
    from bertc.recipe import AUTO_TARGET

    if recipe.engine.target == AUTO_TARGET:
        raise InputError(f"{AUTO_TARGET} is for bertc build, which measures the targets; name one with --target")
    if len(recipe.engine.targets) > 1:
        raise InputError(f"--target {recipe.engine.target} names several, which is for bertc build; name one")
