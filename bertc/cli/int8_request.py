"""Targets that were asked for and cannot be: INT8 from one that has none, one where several are meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertc.core.plugins import TARGETS
from bertc.errors import InputError

if TYPE_CHECKING:
    from bertc.recipe import Recipe


RANGES = ("calibration.table", "calibration.calibrator", "calibration.percentile", "calibration.per_site")
"""What says how ranges are found, which nothing but a scheme has."""


def check_precision(recipe: Recipe, flags: Mapping[str, Any]) -> None:
    """Refuse flags of quantization for a target that has none, and for references with no other target that takes them.

    So are those of its ranges where no target takes them. A recipe has a mode even where nobody asked for one.
    """
    from bertc.targets import target_from_name

    scheme = _first_given(flags, "quantization")
    either = scheme or _first_given(flags, *RANGES)
    if either is None or not set(recipe.engine.targets) <= set(TARGETS.names()):  # auto-cpu is several
        return
    targets = [target_from_name(name) for name in recipe.engine.targets]
    if not any(target.static_int8 for target in targets):
        reason = targets[0].no_int8 or f"it is {targets[0].summary}"
        raise InputError(f"the target {targets[0].name} takes no {either}, leave it out: {reason}")
    for target in targets:
        if scheme is not None and target.no_int8:
            raise InputError(f"the target {target.name} takes no {scheme}, leave it out: {target.no_int8}")


def check_trained_precision(recipe: Recipe, flags: Mapping[str, Any]) -> None:
    """Refuse flags of INT8 and its ranges for a training in float."""
    training = recipe.training
    if training.quantize and not training.early_exit:
        return
    given = _first_given(flags, "quantization", "calibration", "training.learned_scales")
    if given is not None:
        asked = "--early-exit" if training.early_exit else "--float"
        raise InputError(f"{asked} trains in float, and {given} is of INT8 and its ranges; leave one of them out")


def _first_given(flags: Mapping[str, Any], *names: str) -> str | None:
    """Return the option of the first of some fields that was given, None where none was."""
    from bertc.recipe.setting import settings_named

    given = (each for each in settings_named(*names) if flags.get(each.destination) not in (None, ()))
    return next((each.about.flag for each in given), None)


def check_single_target(recipe: Recipe) -> None:
    """Refuse the choice among targets where there is no data to choose by."""
    from bertc.recipe import AUTO_TARGET

    if recipe.engine.target == AUTO_TARGET:
        raise InputError(f"{AUTO_TARGET} is for bertc build, which measures the targets; name one with --target")
    if len(recipe.engine.targets) > 1:
        raise InputError(f"--target {recipe.engine.target} names several, which is for bertc build; name one")
