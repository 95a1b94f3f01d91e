"""What a recipe names, read and checked before anything slow: checkpoint, texts, gates, table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.cache.stages import Work
from bertc.calibrate.carried import given_table, own_table
from bertc.calibrate.stage import calibrated_table
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem
from bertc.data.dataset import dataset_from_path
from bertc.data.encoded import Encoded, Streamed, row_shards
from bertc.data.reading import Reading, reading_from_rows, reading_of_texts
from bertc.data.rows import Dataset, Row, sample_rows
from bertc.errors import InputError
from bertc.evaluate.gates import Decide, Gate, gates_from_options
from bertc.evaluate.metrics.entities import scheme_from_labels
from bertc.evaluate.reference import check_rows_tell
from bertc.ir.scheme import DEFAULT_SMOOTHING, Scheme
from bertc.jobs.plan import method_from_recipe
from bertc.prune.criteria import criterion_from_name
from bertc.prune.layers import skipped_gemms
from bertc.prune.stage import Sparsity
from bertc.recipe import CalibrationRecipe, Recipe, SparsityRecipe, ValidationRecipe
from bertc.search.held import HeldOut, budget_on_held_out, check_enough, held_out_rows
from bertc.tasks import checked_rows, head_of_rows, layout_from_head, task_from_name, unanswered_rows

NO_TEXT = "there is no calibration text; name a file with --calibration-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an engine is judged by: labelled text, the gates on it, and by the drop or by its interval.

    `head` is the checkpoint's as the text judges it. With `any_reference` the float model is not judged.
    """

    head: Head
    texts: Streamed
    gates: tuple[Gate, ...]
    decide: Decide
    any_reference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that a job reads.

    `max_length` is the most tokens of a model input. `table` are the user's ranges or the checkpoint's own; without
    them the text is calibrated on, with smoothing factors of `exponent` and what `per_site` names chosen for each site,
    on so many `threads` (0: all cores). `sparsity` is what is to be pruned, None for nothing. `reference` is the float
    model to compare with, None for the checkpoint itself; `proof` judges an engine, `held_out` a search, and by
    `exit_texts` the threshold of early exit is chosen.
    """

    checkpoint: Checkpoint
    max_length: int
    table: CalibrationTable | None
    calibration: Encoded | None
    exponent: float
    per_site: tuple[str, ...]
    sparsity: Sparsity | None
    reference: Checkpoint | None = None
    proof: Proof | None = None
    held_out: HeldOut | None = None
    exit_texts: Encoded | None = None
    threads: int = 0

    @property
    def texts(self) -> Encoded | None:
        """Some text: that of the calibration, or else a sample of the validation."""
        if self.calibration is not None:
            return self.calibration
        return None if self.proof is None else self.proof.texts.sample()

    @property
    def lengths(self) -> tuple[int, ...]:
        """The token counts of all texts."""
        calibration = () if self.calibration is None else self.calibration.lengths
        return calibration if self.proof is None else (*calibration, *self.proof.texts.lengths.tolist())


def inputs_from_recipe(recipe: Recipe, checkpoint: Checkpoint, scheme: Scheme | None, *, max_length: int) -> Inputs:
    """Read what a checkpoint is made an engine of with: its ranges, or the text that they come from.

    Raises `InputError` for a table or a sparsity that cannot be, and where text is needed and none is named.
    """
    calibration = recipe.calibration
    check_sparsity(recipe, checkpoint)
    sparsity = sparsity_from_recipe(recipe.sparsity)
    table = None if scheme is None else _table(recipe, checkpoint, scheme)
    unneeded = scheme is None or (calibration.data is None and table is not None)
    texts = (
        None if unneeded and not needs_text(sparsity) else calibration_from_recipe(calibration, checkpoint, max_length)
    )
    return Inputs(
        checkpoint=checkpoint,
        max_length=max_length,
        table=table,
        calibration=texts,
        exponent=recipe.quantization.smoothing or DEFAULT_SMOOTHING,
        per_site=calibration.per_site,
        sparsity=sparsity,
        threads=recipe.engine.threads,
    )


def table_from_inputs(inputs: Inputs, graph: ir.Model, *, work: Work) -> CalibrationTable:
    """Return the table that was given, or calibrate the checkpoint's graph (pruned or not) on the text."""
    return calibrated(inputs, graph, work=work) if inputs.table is None else inputs.table


def calibrated(inputs: Inputs, graph: ir.Model, *, work: Work) -> CalibrationTable:
    """Observe a graph's sites on the text. Raises `InputError` where there is none."""
    if inputs.calibration is None:
        raise InputError(NO_TEXT)
    return calibrated_table(
        graph,
        inputs.calibration,
        checkpoint=inputs.checkpoint.digest,
        exponent=inputs.exponent,
        per_site=inputs.per_site,
        threads=inputs.threads,
        work=work,
    )


def _table(recipe: Recipe, checkpoint: Checkpoint, scheme: Scheme) -> CalibrationTable | None:
    """Return the user's table; else, where he names no text either, the checkpoint's own."""
    calibration = recipe.calibration
    if calibration.table is not None:
        return given_table(calibration.table, checkpoint)
    carried = own_table(checkpoint, scheme, method_from_recipe(calibration)) if calibration.data is None else None
    if carried is not None and recipe.sparsity.pattern is not None:
        raise InputError(
            f"{recipe.checkpoint} has ranges of its own, which belong to its dense weights, and --sparsity changes "
            "them; build it without --sparsity, or prune the checkpoint that it was trained from"
        )
    return carried


def checkpoint_from_recipe(recipe: Recipe) -> Checkpoint:
    """Read the checkpoint."""
    return checkpoint_from_path(recipe.checkpoint, task=recipe.task)


def length_of_inputs(checkpoint: Checkpoint, max_length: int | None) -> int:
    """Return the largest number of tokens of a model input.

    Raises `InputError` for one beyond the positions, or without room for a token of text.
    """
    if max_length is not None:
        if max_length > checkpoint.encoder.positions:
            raise InputError(
                f"max_length {max_length} is more than the {checkpoint.encoder.positions} positions of "
                f"{checkpoint.path}; choose at most that"
            )
        return max_length
    window = task_from_name(checkpoint.head.task).window
    length = min(window or checkpoint.encoder.max_length, checkpoint.encoder.max_length)
    checkpoint.encoder.check_length(length)
    return length


def check_validated(validation: ValidationRecipe) -> None:
    """Refuse a build that nothing would prove, unless somebody said so."""
    if validation.data is None and not validation.unvalidated:
        raise InputError(
            "there is no validation data, so nothing proves the engine's accuracy; name a file with "
            "--validation-data, or build with --unvalidated, which is stamped into the artefact"
        )


def proof_from_recipe(validation: ValidationRecipe, checkpoint: Checkpoint, max_length: int) -> Proof | None:
    """Read, check and measure the validation data, and read the gates; None where nothing is to be proven."""
    check_validated(validation)
    if validation.data is None:
        return None
    layout = layout_from_head(checkpoint.head)
    dataset = dataset_from_path(validation.data, layout=layout, columns=validation.columns, limit=validation.limit)
    head = head_of_rows(checkpoint.head, dataset.rows)
    task = task_from_name(head.task)
    rows = checked_rows(task, dataset.rows, head, checkpoint.encoder)
    check_rows_tell(validation.data, task, head, rows)
    texts = _streamed(validation.data, dataset, rows, checkpoint, max_length)
    gates = gates_from_recipe(validation, head, labelled=task.gold(rows, head) is not None)
    return Proof(head=head, texts=texts, gates=gates, decide=validation.decide, any_reference=validation.any_reference)


def _streamed(path: str, dataset: Dataset, rows: tuple[Row, ...], checkpoint: Checkpoint, max_length: int) -> Streamed:
    """Go through checked rows once, for the lengths and the unknown tokens of their features, and keep none."""
    task, encoder = task_from_name(checkpoint.head.task), checkpoint.encoder

    def encode(some: Sequence[Row]) -> Sequence[Feature]:
        return task.features_from_rows(some, encoder, max_length)

    lengths: list[NDArray[np.int32]] = []
    unknown = total = 0
    for features in map(encode, row_shards(rows)):
        lengths.append(np.array([feature.length for feature in features], np.int32))
        counts = encoder.count_unknown(feature.input_ids for feature in features)
        unknown, total = unknown + counts[0], total + counts[1]
    return Streamed(
        path=path,
        digest=dataset.digest,
        rows=rows,
        encode=encode,
        max_length=max_length,
        reading=reading_of_labelled(dataset, rows, checkpoint.head),
        lengths=np.concatenate(lengths),
        unknown=(unknown, total),
    )


def reading_of_validation(wanted: ValidationRecipe, head: Head) -> Reading | None:
    """Read and check the validation data, and say how; None without. Nothing is encoded or built."""
    if wanted.data is None:
        return None
    dataset = dataset_from_path(wanted.data, layout=layout_from_head(head), columns=wanted.columns, limit=wanted.limit)
    head = head_of_rows(head, dataset.rows)
    return reading_of_labelled(dataset, task_from_name(head.task).check_rows(dataset.rows, head), head)


def reading_of_labelled(dataset: Dataset, checked: Sequence[Row], head: Head) -> Reading:
    """Say how a file was read and its labels meant, of which a task made the `checked` rows.

    The scheme of tags is that of the head's whole label set.
    """
    named = head.problem != Problem.REGRESSION and not task_from_name(head.task).token_scores
    labels = head.labels if named else ()
    scheme = None if checked[0].tags is None else str(scheme_from_labels(head.labels))
    return reading_from_rows(dataset, checked, labels, scheme)


def calibration_from_recipe(calibration: CalibrationRecipe, checkpoint: Checkpoint, max_length: int) -> Encoded:
    """Read, sample and encode the calibration text; its labels do not matter."""
    if calibration.data is None:
        raise InputError(NO_TEXT)
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(calibration.data, layout=task.layout, columns=calibration.columns)
    chosen = sample_rows(dataset, calibration.samples, seed=calibration.seed)
    rows = unanswered_rows(task, chosen, checkpoint.head, checkpoint.encoder)
    features = task.features_from_rows(rows, checkpoint.encoder, max_length)
    return Encoded(
        path=calibration.data,
        digest=dataset.digest,
        rows=tuple(rows),
        features=tuple(features),
        max_length=max_length,
        seed=calibration.seed,
        reading=reading_of_texts(dataset, rows),
    )


def gates_from_recipe(validation: ValidationRecipe, head: Head, *, labelled: bool) -> tuple[Gate, ...]:
    """Read the gates, so that a wrong one is refused before anything slow."""
    return gates_from_options(validation, task_from_name(head.task), head, labelled=labelled)


def sparsity_from_recipe(sparsity: SparsityRecipe) -> Sparsity | None:
    """Return what is to be pruned, None for nothing."""
    if sparsity.pattern is None:
        return None
    return Sparsity(criterion=sparsity.criterion, skip=sparsity.skip, permute=sparsity.permute)


def needs_text(sparsity: Sparsity | None) -> bool:
    """Say whether pruning reads the calibration text."""
    return sparsity is not None and bool(criterion_from_name(sparsity.criterion).NEEDS_TEXT)


def check_sparsity(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Refuse at once wrong names, missing text, and a table, which has the ranges of the dense weights."""
    sparsity = sparsity_from_recipe(recipe.sparsity)
    if sparsity is None:
        return
    skipped_gemms(sparsity.skip, checkpoint.architecture.layers)
    if recipe.calibration.table is not None:
        raise InputError(
            f"calibration table {recipe.calibration.table} has the ranges of the dense weights, and --sparsity changes "
            "them; give --calibration-data, or prune first (bertc prune) and calibrate what it writes"
        )
    if needs_text(sparsity) and recipe.calibration.data is None:
        raise InputError(f"the sparsity criterion {sparsity.criterion} needs text; name a file with --calibration-data")


def held_out_from_recipe(recipe: Recipe, inputs: Inputs, proof: Proof | None) -> HeldOut | None:
    """Read the rows that a search judges by, and its budget as gates on them.

    None unless the recipe asks for a search. Raises `InputError` where nothing can be searched: no INT8 scheme, no
    text, or too few rows to tell the budget's drop.
    """
    if not recipe.search.enabled:
        return None
    calibration = inputs.calibration
    if calibration is None:
        raise InputError(
            "--search needs a target with static INT8 and calibration text to judge by; name the text with "
            "--calibration-data"
        )
    layout = layout_from_head(inputs.checkpoint.head)
    dataset = dataset_from_path(calibration.path, layout=layout, columns=recipe.calibration.columns)
    head = head_of_rows(inputs.checkpoint.head, dataset.rows) if proof is None else proof.head
    task = task_from_name(head.task)
    known = calibration.rows if proof is None else (*calibration.rows, *proof.texts.rows)
    used = {row.hash for row in known}
    chosen = held_out_rows(
        dataset,
        calibration.path,
        used,
        rows=recipe.search.rows,
        seed=recipe.calibration.seed,
        unit=task.split_unit if task.layout.whole_groups else None,
    )
    rows = checked_rows(task, chosen, head, inputs.checkpoint.encoder)
    features = task.features_from_rows(rows, inputs.checkpoint.encoder, inputs.max_length)
    labelled = task.gold(rows, head) is not None
    gates = gates_from_recipe(recipe.validation, head, labelled=True)
    gates = budget_on_held_out(gates, task, head, labelled=labelled)
    check_enough(calibration.path, len(rows), gates, task.main_fidelity)
    texts = Encoded(
        path=calibration.path,
        digest=dataset.digest,
        rows=tuple(rows),
        features=tuple(features),
        max_length=inputs.max_length,
    )
    return HeldOut(head=head, texts=texts, labelled=labelled, gates=gates, decide=recipe.validation.decide)
