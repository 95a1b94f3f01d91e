"""What a recipe names, read and checked before anything slow: target, scheme, text, gates, table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from bertc.calibrate.collect import ranges_from_batches
from bertc.calibrate.gram import grams_from_batches
from bertc.calibrate.table import CalibrationTable, table_from_path
from bertc.checkpoint import Checkpoint
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row, sample_rows
from bertc.errors import InputError
from bertc.evaluate.gate import Gate, gates_from_options
from bertc.features import Feature, Head, Progress
from bertc.graph.build import architecture_from_checkpoint
from bertc.graph.fused import check_attention
from bertc.graph.options import EngineOptions
from bertc.graph.scheme import DEFAULT_SMOOTHING, Scheme, scheme_from_options
from bertc.graph.sites import GEMM_INPUTS, Site
from bertc.recipe import QuantizationRecipe, Recipe
from bertc.runtime.cpu import cpu_features
from bertc.runtime.packing import row_length_from_lengths
from bertc.targets import Target, target_from_name
from bertc.tasks import task_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows of a data set, checked by the task, with their features. `path` is as the user wrote it."""

    path: str
    digest: str
    rows: tuple[Row, ...]
    features: tuple[Feature, ...]


def checked_target(name: str, attention: str | None = None) -> Target:
    """Find a target and ask whether this machine can run it, with this kind of attention."""
    target = target_from_name(name)
    target.check_machine(cpu_features(), attention)
    return target


def layers_of(checkpoint: Checkpoint) -> int:
    """Return the number of encoder layers."""
    return architecture_from_checkpoint(checkpoint).layers


def scheme_from_recipe(recipe: Recipe, checkpoint: Checkpoint, target: Target | None) -> Scheme | None:
    """Return the scheme, without what the target cannot run; None for a target without static INT8.

    Raises `InputError` for a choice of the scheme where the target has none to offer.
    """
    wanted = recipe.quantization
    if target is not None and not target.STATIC_INT8:
        if target.NO_INT8 and wanted != QuantizationRecipe():
            raise InputError(f"the target {recipe.engine.target} takes no choice of quantization: {target.NO_INT8}")
        return None
    scheme = scheme_from_options(
        wanted.mode,
        granularity=wanted.granularity,
        smoothing=wanted.smoothing,
        keep_float=wanted.keep_float,
        layers=layers_of(checkpoint),
    )
    if target is None:
        return scheme
    attention = attention_from_recipe(recipe, target)
    one_scale = attention is not None and target.ATTENTIONS[attention].one_scale
    refined = scheme.per_channel and target.ZERO_POINTS
    return replace(
        scheme.without_roles(frozenset(target.FLOAT_ROLES)),
        tie_operands=one_scale,
        one_sided=refined,
        split_outliers=refined,
    )


def attention_from_recipe(recipe: Recipe, target: Target) -> str | None:
    """Return the kind of attention, None where the target offers no choice. Raises `InputError` for another's."""
    wanted = recipe.engine.attention
    if wanted is not None and wanted not in target.ATTENTIONS:
        offered = f"choose one of {', '.join(target.ATTENTIONS)}" if target.ATTENTIONS else "leave --attention out"
        raise InputError(f"the target {recipe.engine.target} has no attention '{wanted}'; {offered}")
    return wanted or next(iter(target.ATTENTIONS), None)


def options_from_recipe(
    recipe: Recipe,
    checkpoint: Checkpoint,
    target: Target,
    scheme: Scheme | None,
    features: Sequence[Feature] = (),
) -> EngineOptions:
    """Return how the engine is to be made, for texts such as `features`; refuses an attention that cannot run it."""
    attention = attention_from_recipe(recipe, target)
    longest = length_from_recipe(recipe, checkpoint)
    if attention is not None:
        architecture = architecture_from_checkpoint(checkpoint)
        if recipe.search.enabled and target.ATTENTIONS[attention].int8_roles:
            raise InputError(
                f"--attention {attention} is INT8 throughout, so there is nothing for --search to leave out"
            )
        check_attention(target.ATTENTIONS, attention, architecture=architecture, length=longest, scheme=scheme)
    lengths = tuple(sorted(feature.length for feature in features))
    return EngineOptions(attention=attention, lengths=lengths, longest=longest)


def exponent_from_recipe(recipe: Recipe) -> float:
    """Return the exponent that a new table's smoothing factors are made with."""
    return recipe.quantization.smoothing or DEFAULT_SMOOTHING


def length_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> int:
    """Return the largest number of tokens of a model input."""
    if recipe.engine.max_length is not None:
        if recipe.engine.max_length > checkpoint.encoder.positions:
            raise InputError(
                f"max_length {recipe.engine.max_length} is more than the {checkpoint.encoder.positions} positions "
                f"of {checkpoint.path}; choose at most that"
            )
        return recipe.engine.max_length
    window = task_from_name(checkpoint.head.task).window
    return min(window or checkpoint.encoder.max_length, checkpoint.encoder.max_length)


def row_length_from_recipe(
    recipe: Recipe, checkpoint: Checkpoint, target: Target, encoded: Encoded | None
) -> int | None:
    """Return how many tokens texts like these should share a row of; None where the target packs nothing."""
    if not target.PACKS_ROWS:
        return None
    lengths = () if encoded is None else [feature.length for feature in encoded.features]
    return row_length_from_lengths(lengths, length_from_recipe(recipe, checkpoint))


def validation_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> Encoded | None:
    """Read, check and encode the validation data. Raises `InputError` when there is none and nobody said so."""
    wanted = recipe.validation
    if wanted.data is None:
        if wanted.unvalidated:
            return None
        raise InputError(
            "there is no validation data, so nothing proves the engine's accuracy; name a file with "
            "--validation-data, or build with --unvalidated, which is stamped into the artefact"
        )
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(wanted.data, task=task.name, columns=wanted.columns, limit=wanted.limit)
    rows = task.check_rows(dataset.rows, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, length_from_recipe(recipe, checkpoint))
    return Encoded(path=wanted.data, digest=dataset.digest, rows=tuple(rows), features=tuple(features))


def calibration_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> Encoded:
    """Read, sample and encode the calibration text; its labels do not matter."""
    wanted = recipe.calibration
    if wanted.data is None:
        raise InputError("there is no calibration text; name a file with --calibration-data")
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(wanted.data, task=task.name, columns=wanted.columns)
    chosen = [
        replace(row, label=None, tags=None, answers=())
        for row in sample_rows(dataset, wanted.samples, seed=wanted.seed)
    ]
    rows = task.check_rows(chosen, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, length_from_recipe(recipe, checkpoint))
    return Encoded(path=wanted.data, digest=dataset.digest, rows=tuple(rows), features=tuple(features))


def gates_from_recipe(recipe: Recipe, head: Head, validation: Encoded | None) -> tuple[Gate, ...]:
    """Read the gates, so that a wrong one is refused before anything slow."""
    if validation is None:
        return ()
    task = task_from_name(head.task)
    wanted = recipe.validation
    return gates_from_options(
        task,
        head,
        labelled=task.gold(validation.rows, head) is not None,
        gates=wanted.gates,
        max_drop=wanted.max_drop,
        min_agreement=wanted.min_agreement,
        preset=wanted.preset,
    )


def table_from_text(
    recipe: Recipe, checkpoint: Checkpoint, graph: ir.Model, encoded: Encoded, progress: Progress
) -> CalibrationTable:
    """Observe every site over the calibration text."""
    per_site = recipe.calibration.per_site
    grams = None
    if per_site:
        sites = [Site(layer, role) for layer in range(layers_of(checkpoint)) for role in GEMM_INPUTS]
        grams = grams_from_batches(graph, encoded.features, sites, progress=progress)
    return ranges_from_batches(
        graph,
        encoded.features,
        exponent=exponent_from_recipe(recipe),
        checkpoint=checkpoint.digest,
        origin={
            "data": encoded.path,
            "digest": encoded.digest,
            "seed": recipe.calibration.seed,
            "max_length": length_from_recipe(recipe, checkpoint),
            "row_hashes": [row.hash for row in encoded.rows],
        },
        progress=progress,
        per_site=per_site,
        grams=grams,
    )


def given_table(path: str, checkpoint: Checkpoint) -> CalibrationTable:
    """Read the user's table and check that it belongs to the checkpoint."""
    table = table_from_path(Path(path))
    if table.checkpoint != checkpoint.digest:
        raise InputError(
            f"calibration table {path} was made for another checkpoint (digest {table.checkpoint[:12]}, this one is "
            f"{checkpoint.digest[:12]}); calibrate this checkpoint"
        )
    return table
