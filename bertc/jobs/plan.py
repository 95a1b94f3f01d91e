"""What a target is to make of a checkpoint, as a recipe says: scheme, choice of ranges, options of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import Checkpoint
from bertc.core.head import Head
from bertc.errors import InputError
from bertc.export.engine_options import EngineOptions
from bertc.ir.architecture import Architecture, Norm
from bertc.ir.fused import check_attention
from bertc.ir.refusal import ELSEWHERE
from bertc.ir.scheme import Scheme, scheme_from_options
from bertc.quantize.correction_stage import CorrectionWish
from bertc.recipe import CalibrationRecipe, QuantizationRecipe, Recipe
from bertc.runtime.batch_plan import row_length_from_lengths
from bertc.runtime.machine.cpu import cpu_features
from bertc.targets import Target, target_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One target's part of a build.

    `scheme` is None for a target without static INT8. `row_length` is how many tokens texts like those that were read
    should share a row of, None where the target packs nothing. `threads` 0 are all cores.
    """

    target: Target
    scheme: Scheme | None
    method: RangeMethod
    correction: CorrectionWish
    options: EngineOptions
    row_length: int | None
    threads: int


def plan_from_recipe(recipe: Recipe, checkpoint: Checkpoint, lengths: Sequence[int] = (), *, longest: int) -> Plan:
    """Return the plan of a recipe's target for texts of such lengths in tokens, of which none is over `longest`.

    Raises `InputError` for a choice of scheme, sparsity or attention that the target does not have, or that cannot run
    the model.
    """
    target = target_from_name(recipe.engine.target)
    if target.no_sparsity and recipe.sparsity.pattern is not None:
        raise InputError(f"the target {target.name} takes no --sparsity: {target.no_sparsity}")
    attention = attention_of_target(target, recipe.engine.attention)
    layers = checkpoint.architecture.layers
    scheme = scheme_for_target(recipe.quantization, target, layers=layers)
    if attention is not None:
        if recipe.search.enabled and target.attentions[attention].int8_roles:
            raise InputError(
                f"--attention {attention} is INT8 throughout, so there is nothing for --search to leave out"
            )
        architecture = checkpoint.architecture
        check_attention(target.attentions, attention, architecture=architecture, length=longest, scheme=scheme)
    packs = target.packs_rows and not hides_tokens(checkpoint.head)
    return Plan(
        target=target,
        scheme=scheme,
        method=method_from_recipe(recipe.calibration),
        correction=correction_from_recipe(recipe.quantization),
        options=EngineOptions(attention=attention, lengths=tuple(sorted(lengths)), longest=longest),
        row_length=row_length_from_lengths(lengths, longest) if packs else None,
        threads=recipe.engine.threads,
    )


def check_architecture(plan: Plan, checkpoint: Checkpoint) -> None:
    """Raise `InputError` where the target cannot run the model: what its dialect would say after the calibration."""
    feature = feature_beyond(plan.target, checkpoint.architecture)
    if feature is not None:
        raise InputError(
            f"{checkpoint.path}: this model ({checkpoint.family}) has {feature}, which the target {plan.target.name} "
            f"does not run; {ELSEWHERE}"
        )
    if hides_tokens(checkpoint.head) and not plan.target.unseen_tokens:
        raise InputError(
            f"{checkpoint.path}: queries are filled up with tokens that no other token sees, which the target "
            f"{plan.target.name} leaves away as padding; {ELSEWHERE}"
        )


def hides_tokens(head: Head) -> bool:
    """Say whether texts of a head may end with tokens that nothing attends to."""
    return head.interaction is not None and head.interaction.hides_filler


def feature_beyond(target: Target, architecture: Architecture) -> str | None:
    """Return what a model has that the target does not run; None: it runs."""
    if architecture.norm is Norm.RMS and not target.rms_norm:
        return "RMSNorm"
    if architecture.rotary and not target.rotary_positions:
        return "rotary positions"
    if architecture.relative_sinusoids and not target.segments:
        return "attention by distances and segments"
    if architecture.relative_embeddings and not target.distance_embeddings:
        return "attention by embeddings of distances"
    if target.head_sizes and architecture.head_size not in target.head_sizes:
        return f"heads of {architecture.head_size}"
    return None


def scheme_from_recipe(quantization: QuantizationRecipe, *, layers: int) -> Scheme:
    """Return the scheme with everything in it, whatever a target makes of it."""
    return scheme_from_options(
        quantization.mode,
        granularity=quantization.granularity,
        smoothing=quantization.smoothing,
        keep_float=quantization.keep_float,
        layers=layers,
    )


def scheme_for_target(quantization: QuantizationRecipe, target: Target, *, layers: int) -> Scheme | None:
    """Return the scheme without what a target cannot run; None for a target without static INT8.

    Raises `InputError` for a choice of the scheme where the target has none to offer.
    """
    if not target.static_int8:
        if target.no_int8 and quantization != QuantizationRecipe():
            raise InputError(f"the target {target.name} takes no choice of quantization: {target.no_int8}")
        return None
    scheme = scheme_from_recipe(quantization, layers=layers)
    if target.no_int8_residual and scheme.mode.quantized_residual:
        raise InputError(f"the target {target.name} takes no INT8 mode {scheme.mode.name}: {target.no_int8_residual}")
    refined = scheme.per_channel and target.zero_points
    return replace(
        scheme.without_roles(frozenset(target.float_roles)),
        one_sided=refined,
        split_outliers=refined,
    )


def attention_of_target(target: Target, attention: str | None) -> str | None:
    """Return the kind of attention, None where the target offers no choice. Raises `InputError` for another's."""
    if attention is not None and attention not in target.attentions:
        offered = f"choose one of {', '.join(target.attentions)}" if target.attentions else "leave --attention out"
        raise InputError(f"the target {target.name} has no attention '{attention}'; {offered}")
    return attention or next(iter(target.attentions), None)


def method_from_recipe(calibration: CalibrationRecipe) -> RangeMethod:
    """Return how ranges are chosen."""
    return RangeMethod(calibrator=calibration.calibrator, percentile=calibration.percentile)


def correction_from_recipe(quantization: QuantizationRecipe) -> CorrectionWish:
    """Return what the recipe says of rounding and biases."""
    gptq = None if quantization.rounding is None else quantization.rounding == "gptq"
    return CorrectionWish(gptq=gptq, bias=quantization.bias_correction)


def checked_target(name: str, attention: str | None = None) -> Target:
    """Find a target and ask whether this machine can run it, with this kind of attention."""
    target = target_from_name(name)
    target.check_machine(cpu_features(), attention)
    return target
