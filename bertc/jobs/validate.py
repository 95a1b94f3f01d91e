"""Validate an artefact again, from itself alone: the engine runs, the float model's part comes from the rows file.

In: an artefact's folder and labelled data. Out: a `Validation`. On the data of the build the figures are the report's.
Other data needs the checkpoint, whose float model then runs beside the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.artefact.layout import ROWS_FILE
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem
from bertc.core.progress import Progress
from bertc.core.workers import Workers, one_ahead
from bertc.data.dataset import dataset_from_path
from bertc.data.encoded import row_shards
from bertc.data.reading import Reading
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.gates import Gate, Verdict, gates_from_options, judge, judge_comparison, judge_doubtful
from bertc.evaluate.kept import KeptOutputs, Shard, joined_outputs, kept_from_outputs, truncated_rows
from bertc.evaluate.metric import metric_from_name
from bertc.evaluate.reference import Doubt, check_rows_tell, warnings_of_rows
from bertc.evaluate.regression import places_of_rows
from bertc.evaluate.row_table import MetricRows, RowTable, hash_labels, kept_statistics
from bertc.evaluate.rows_file import REFERENCE, rows_from_path
from bertc.evaluate.scores import Score, compare_shards, scores_from_table
from bertc.evaluate.task import Task
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.build_verdict import doubt_of_build, has_gates_of_build, search_of_build
from bertc.jobs.exit_threshold import plain_checkpoint
from bertc.jobs.inputs import reading_of_labelled
from bertc.jobs.predict import Predictor, predictor_from_path
from bertc.recipe import Recipe, ValidationRecipe
from bertc.runtime.engine import begun_outputs
from bertc.runtime.shared_engine import ready_to_run
from bertc.targets import target_from_name
from bertc.tasks import checked_rows, head_of_rows, layout_from_head, task_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What a validation found. `reference` is where the float model's part comes from: "rows" or "checkpoint".

    `reading` says how the file `data` was read; `doubt` why the float model itself is not to be believed; `search` why
    the build's search failed the same gates.
    """

    data: str
    reading: Reading
    accuracy: Score
    metrics: tuple[Score, ...]
    verdict: Verdict
    reference: str
    notes: tuple[str, ...]
    doubt: Doubt | None = None
    search: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the result with the keys of report.json."""
        return {
            "passed": self.verdict.passed,
            "data": {"path": self.data, "reading": self.reading.as_dict()},
            "doubt": None if self.doubt is None else asdict(self.doubt),
            "accuracy": self.accuracy.as_dict(),
            "metrics": [score.as_dict() for score in self.metrics],
            "gates": [gate.as_dict() for gate in self.verdict.gates],
            "reference": self.reference,
            "warnings": list(self.verdict.warnings),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The checked rows of the file `data`, the artefact that is asked of them, and its head as they judge it."""

    predictor: Predictor
    head: Head
    wanted: ValidationRecipe
    data: str
    reading: Reading
    rows: tuple[Row, ...]
    gates: tuple[Gate, ...]

    @property
    def task(self) -> Task:
        """The head's task."""
        return task_from_name(self.head.task)

    @property
    def gold(self) -> Any:
        """What the labelled metrics compare with, or None."""
        return self.task.gold(self.rows, self.head)

    def shards(self) -> Iterator[tuple[tuple[Row, ...], tuple[Feature, ...]]]:
        """Encode the rows, a shard at a time."""
        return ((rows, tuple(self.predictor.features_from_rows(rows))) for rows in row_shards(self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """What is kept of the engine's outputs, row by row, and how many rows were cut off."""

    outputs: KeptOutputs
    truncated: int


def validate(
    folder: Path, recipe: Recipe, *, checkpoint: str | None, progress: Progress, workers: Workers | None = None
) -> Validation:
    """Run an artefact's engine over the recipe's validation data and judge it by the recipe's gates.

    `checkpoint` names the float model to compare with, the build's or the one that was compiled; without it the rows of
    the build are used. Several `workers` share the rows. Raises `InputError` if the rows of the build do not hold this
    data's.
    """
    with predictor_from_path(folder, threads=recipe.engine.threads, workers=workers) as predictor:
        if checkpoint is None and predictor.unvalidated:
            raise InputError(
                f"{folder} was built without validation and keeps no float outputs; name the float model with "
                "--checkpoint"
            )
        if workers is not None:
            workers.start(ready_to_run)
        if checkpoint is not None:
            compared = _float_model(predictor, folder, checkpoint, recipe.validation.reference)
            run = _checked_run(predictor, recipe.validation, None, progress)
            found = _against_checkpoint(run, compared, recipe.engine.threads, workers, progress)
            return _as_searched(run, folder, found)
        stored = rows_from_path(folder / ROWS_FILE).table
        run = _checked_run(predictor, recipe.validation, stored, progress)
        return _as_searched(run, folder, _against_rows(run, folder, stored, progress))


def _as_searched(run: _Run, folder: Path, found: Validation) -> Validation:
    """Let a search that found nothing within the same gates fail them here as it failed the build; else only say so."""
    said = search_of_build(folder)
    if not said:
        return found
    if not has_gates_of_build(folder, run.wanted, run.task, run.head):
        note = f"the build did not pass, by other gates: {said}"
        return replace(found, notes=(*found.notes, note))
    verdict = replace(found.verdict, passed=False, summary=said, warnings=(*found.verdict.warnings, said))
    return replace(found, verdict=verdict, search=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FloatModel:
    """The float model that was named, and what is to be said where it is not the one of the build."""

    checkpoint: Checkpoint
    notes: tuple[str, ...] = ()


def _float_model(predictor: Predictor, folder: Path, path: str, reference: str | None) -> _FloatModel:
    """Read the float model of the build, or the checkpoint that was compiled. Raises `InputError` for another one.

    `reference` is how the build named its float model; None where that is the checkpoint.
    """
    checkpoint = checkpoint_from_path(path, task=predictor.head.task)
    compiled = predictor.manifest.checkpoint
    known = {compiled: f"what {folder} was built from"}
    another = False
    if reference is not None and not predictor.unvalidated:
        digest = rows_from_path(folder / ROWS_FILE).origin.get(REFERENCE)  # older rows do not tell
        another = digest != compiled
        known |= {digest: f"{reference}, which the build compared with"} if another and digest is not None else {}
    if checkpoint.digest not in known:
        named = " nor ".join(f"{said} (digest {digest[:12]})" for digest, said in known.items())
        refused, wanted = ("not", "that one") if len(known) == 1 else ("neither", "one of them")
        raise InputError(f"{path} (digest {checkpoint.digest[:12]}) is {refused} {named}; name {wanted}")
    told = f"compared with {path}, and at the build with {reference}: the gates judge another drop than there"
    return _FloatModel(checkpoint=checkpoint, notes=(told,) if another and checkpoint.digest == compiled else ())


def _checked_run(predictor: Predictor, wanted: ValidationRecipe, stored: RowTable | None, progress: Progress) -> _Run:
    """Read and check; with `stored`, rows that it does not hold are refused before the engine runs."""
    if wanted.data is None:
        raise InputError("there is no data to validate on; name a file with --validation-data")
    if not Path(wanted.data).exists():
        raise InputError(f"{wanted.data}: there is no such file; name the validation data with --validation-data")
    progress.stage("read")
    layout = layout_from_head(predictor.head)
    dataset = dataset_from_path(wanted.data, layout=layout, columns=wanted.columns, limit=wanted.limit)
    head = head_of_rows(predictor.head, dataset.rows)
    task = task_from_name(head.task)
    rows = checked_rows(task, dataset.rows, head, predictor.encoder)
    labelled = task.gold(rows, head) is not None
    gates = gates_from_options(wanted, task, head, labelled=labelled)
    if stored is not None:
        _places(rows, stored, labelled=labelled, data=wanted.data)
    check_rows_tell(wanted.data, task, head, rows)
    return _Run(
        predictor=predictor,
        head=head,
        wanted=wanted,
        data=wanted.data,
        reading=reading_of_labelled(dataset, rows, predictor.head),
        rows=rows,
        gates=gates,
    )


def _against_checkpoint(
    run: _Run, compared: _FloatModel, threads: int, workers: Workers | None, progress: Progress
) -> Validation:
    """Compare with the float model, which runs on the same rows."""
    predictor, head = run.predictor, run.head
    target = target_from_name("float")
    graph = graph_from_checkpoint(plain_checkpoint(compared.checkpoint))
    with TemporaryDirectory(prefix="bertc-") as scratch:
        model = target.written_model(target.onnx_from_graph(graph), Path(scratch))
        with model.opened(threads=threads, workers=workers) as engine:
            progress.stage("evaluate")
            begun = (
                (rows, features, begun_outputs(engine, features, head), predictor.begun_features(features))
                for rows, features in run.shards()
            )
            shards = (
                Shard(rows=rows, features=features, reference=reference(progress), engine=outputs(progress))
                for rows, features, reference, outputs in one_ahead(begun)
            )
            found = compare_shards(run.task, head, run.rows, shards, extra=[gate.metric for gate in run.gates])
    wanted = run.wanted
    verdict = judge_comparison(found, run.gates, decide=wanted.decide, any_reference=wanted.any_reference)
    return Validation(
        data=run.data,
        reading=run.reading,
        accuracy=found.accuracy,
        metrics=found.metrics,
        verdict=verdict,
        reference="checkpoint",
        notes=compared.notes,
        doubt=found.doubt,
    )


def _engine_answers(run: _Run, progress: Progress) -> _Answers:
    """Run the engine shard by shard."""
    task, head = run.task, run.head
    progress.stage("evaluate engine")
    parts, truncated = [], 0
    begun = ((rows, features, run.predictor.begun_features(features)) for rows, features in run.shards())
    for rows, features, outputs in one_ahead(begun):
        raw = outputs(progress)
        parts.append(kept_from_outputs(task, head, task.row_outputs(rows, features, raw, head)))
        truncated += truncated_rows(features)
    return _Answers(outputs=joined_outputs(parts), truncated=truncated)


def _against_rows(run: _Run, folder: Path, stored: RowTable, progress: Progress) -> Validation:
    """Compare with what the artefact keeps of the float model's outputs."""
    answers = _engine_answers(run, progress)
    table, left_out, changed = _paired_table(run, answers.outputs, stored)
    scores = scores_from_table(table, truncated=answers.truncated)
    task, head = run.task, run.head
    main = task.main_fidelity if run.gold is None else task.metrics(head)[0].name
    for name in (main, *(gate.metric for gate in run.gates)):
        if name not in scores:
            raise InputError(
                f"the metric '{name}' needs the float model's outputs, of which {folder} keeps too little; name the "
                "float model with --checkpoint"
            )
    doubt = doubt_of_build(folder)
    every = tuple(scores.values())
    if doubt is None or not doubt.grave or run.wanted.any_reference:
        verdict = judge(every, run.gates, decide=run.wanted.decide)
    else:
        verdict = judge_doubtful(every, run.gates, doubt, decide=run.wanted.decide)
    notes = []
    if changed:
        notes.append(f"{changed} of {len(run.rows)} decisions are not those of the build: another machine or version?")
    if left_out:
        notes.append(f"without --checkpoint there is no {', '.join(left_out)}: the outputs are not those of the build")
    return Validation(
        data=run.data,
        reading=run.reading,
        accuracy=scores[main],
        metrics=tuple(score for name, score in scores.items() if name != main),
        verdict=replace(verdict, warnings=(*warnings_of_rows(table), *verdict.warnings)),
        reference="rows",
        notes=tuple(notes),
        doubt=doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairing:
    """This run's rows beside the stored ones, at the places `there`.

    Per row: `same` says that the engine's outputs are the build's, `unchanged` that its decision is, `agreeing` that
    its decision is the float model's. `whole` says that everything is the build's.
    """

    there: NDArray[np.int64]
    same: NDArray[np.bool_]
    unchanged: NDArray[np.bool_]
    agreeing: NDArray[np.bool_]
    whole: bool


def _paired_table(run: _Run, answers: KeptOutputs, stored: RowTable) -> tuple[RowTable, list[str], int]:
    """Return this run's rows with the stored float model's, the metrics left out, and how many decisions changed."""
    task, head = run.task, run.head
    there = _places(run.rows, stored, labelled=run.gold is not None, data=run.data)
    decisions = answers.decisions
    pairs = zip(answers.packed, there, strict=True)
    same = np.array([np.array_equal(now, stored.outputs_engine[place], equal_nan=True) for now, place in pairs])
    pairing = _Pairing(
        there=there,
        same=same,
        unchanged=decisions == stored.decisions_engine[there],
        agreeing=decisions == stored.decisions_reference[there],
        whole=len(there) == len(stored.hashes) and bool(same.all()),
    )
    metrics, left_out = [], []
    for old in stored.metrics:
        statistics = _engine_statistics(run, old, answers.graded, pairing)
        if statistics is not None:
            metrics.append(replace(old, reference=old.reference[there], engine=statistics))
        elif metric_from_name(task, head, old.name).fidelity:
            left_out.append(old.name)
    table = replace(
        stored,
        hashes=_hashes(run.rows),
        labels=hash_labels(run.rows),
        groups=tuple(row.group for row in run.rows),
        decisions_reference=stored.decisions_reference[there],
        decisions_engine=decisions,
        outputs_reference=(),
        outputs_engine=answers.packed,
        metrics=tuple(metrics),
    )
    return table, left_out, int((~pairing.unchanged).sum())


def _engine_statistics(run: _Run, old: MetricRows, graded: Any, pairing: _Pairing) -> Array | None:
    """Return a metric's statistics of this run's engine; None without labels, or where the float outputs are needed."""
    task, head = run.task, run.head
    metric = metric_from_name(task, head, old.name)
    if not metric.fidelity:
        gold = run.gold
        return None if gold is None else kept_statistics(metric.statistics(gold, graded), metric.formula)
    # The rows that were left out of this run may be neighbours of those that were not.
    alone = metric.corpus is None
    if pairing.whole or (alone and pairing.same.all()):
        return old.engine[pairing.there]
    if old.name == "agreement" and alone and head.problem != Problem.REGRESSION:
        return _agreement(old, pairing)
    return None


def _hashes(rows: Sequence[Row]) -> NDArray[np.uint64]:
    return np.array([int(row.hash, 16) for row in rows], np.uint64)


def _places(rows: Sequence[Row], stored: RowTable, *, labelled: bool, data: str) -> NDArray[np.int64]:
    """Return where each row stands in the stored table. Raises `InputError` for rows that do not, label included."""
    labels = hash_labels(rows)
    places = places_of_rows((_hashes(rows), labels), (stored.hashes, stored.labels))
    missing = places < 0
    if labelled:
        missing |= stored.labels[places] != labels
    if missing.any():
        first = rows[int(np.flatnonzero(missing)[0])]
        raise InputError(
            f"{int(missing.sum())} of {len(rows)} rows of {data} are not among those that the artefact "
            f"was validated on, text and label (the first: {first.place}); name the float model with --checkpoint"
        )
    return places


def _agreement(old: MetricRows, pairing: _Pairing) -> Array | None:
    """Return agreement [n, (agreeing, decisions)] from stored decisions; None if they do not tell.

    A row decided as at the build agrees as it did then, one decided as by the float model agrees in all; any other
    disagrees, unless it holds several decisions (words), of which nobody knows how many.
    """
    statistics = old.engine[pairing.there].copy()
    statistics[pairing.agreeing, 0] = statistics[pairing.agreeing, 1]
    other = ~pairing.unchanged & ~pairing.agreeing
    if (statistics[other, 1] != 1).any():
        return None
    statistics[other, 0] = 0.0
    return statistics
