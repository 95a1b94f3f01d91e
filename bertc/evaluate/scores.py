"""Raw outputs of the float model and of the engine -> `Comparison`: every metric with its paired interval.

What a metric computes is in the task; what is decided about the scores is in `gates.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.bootstrap import RESAMPLES, Sample, bootstrap_values, groups_from_names, interval
from bertc.evaluate.formulas import FORMULAS, Unit
from bertc.evaluate.kept import KeptRows, Shard, kept_from_shards
from bertc.evaluate.metric import HIGHER, Metric, metric_from_name, value_of
from bertc.evaluate.operating import OperatingPoint, operating_points
from bertc.evaluate.reference import Doubt, doubt_of_reference, is_constant, warnings_of_rows
from bertc.evaluate.row_table import MetricRows, RowTable, hash_labels, kept_statistics
from bertc.evaluate.task import RawOutputs, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of the engine beside the reference. Fractions; a positive drop is always worse.

    `drop_ci95` is the paired 95 % interval of the drop, `drop_error` its standard error, `largest_drop` the largest
    that is possible. `samples` are the rows, or the queries that count (`unit`). `agreement` and `logit_mse` are the
    engine's, None where the task has none or these rows do not define it. Where the engine's value is not defined (all
    its outputs are alike) it is NaN, and so is the drop. NaN becomes None in `as_dict`, whose keys are those of
    report.json.
    """

    metric: str
    direction: str
    samples: int
    truncated: int
    reference: float
    engine: float
    drop: float
    drop_ci95: tuple[float, float]
    drop_error: float
    reference_ci95: tuple[float, float]
    engine_ci95: tuple[float, float]
    agreement: float | None = None
    logit_mse: float | None = None
    largest_drop: float = math.inf
    unit: Unit = "rows"

    def as_dict(self) -> dict[str, Any]:
        """Return the score as report.json has it."""
        return {
            "metric": self.metric,
            "direction": self.direction,
            "samples": self.samples,
            "unit": self.unit,
            "truncated": self.truncated,
            "reference": self.reference,
            "engine": _finite_or_none(self.engine),
            "drop": _finite_or_none(self.drop),
            "drop_ci95": _finite(self.drop_ci95),
            "agreement": self.agreement,
            "logit_mse": self.logit_mse,
            "reference_ci95": _finite(self.reference_ci95),
            "engine_ci95": _finite(self.engine_ci95),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What an evaluation found: the main metric, the others, thresholds that restore float's, and the rows.

    `doubt` says why the float model itself is not to be believed, `warnings` what is odd about either's outputs.
    """

    accuracy: Score
    metrics: tuple[Score, ...]
    operating_points: tuple[OperatingPoint, ...]
    labelled: bool
    table: RowTable
    doubt: Doubt | None = None
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> tuple[Score, ...]:
        """The main metric and all others."""
        return (self.accuracy, *self.metrics)


def compare_outputs(  # noqa: PLR0913 - a data set as task and head read it, and the outputs of two systems
    task: Task,
    head: Head,
    rows: Sequence[Row],
    features: Sequence[Feature],
    reference: RawOutputs,
    engine: RawOutputs,
    *,
    extra: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Comparison:
    """Score an engine beside the float reference, all rows at once; see `compare_shards`.

    `features` are the rows' features, `reference` and `engine` the raw arrays per feature.
    """
    whole = Shard(rows=rows, features=features, reference=reference, engine=engine)
    return compare_shards(task, head, rows, [whole], extra=extra, resamples=resamples)


def compare_shards(
    task: Task,
    head: Head,
    rows: Sequence[Row],
    shards: Iterable[Shard],
    *,
    extra: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Comparison:
    """Score an engine beside the float reference.

    `rows` are checked rows; the shards are theirs, in order, and none is held when the next one comes. `extra` names
    further metrics ("recall[spam]"), as gates ask for them. Without labels only fidelity to the float model is
    scored. Raises `InputError` on an empty set and on a metric that is asked for but not defined on these rows.
    """
    if not rows:
        raise InputError("the validation data has no rows; give a file with at least one")
    gold = task.gold(rows, head)
    asked = _asked_metrics(task, head, extra, labelled=gold is not None)
    chosen = [*(() if gold is None else task.metrics(head)), *task.fidelity(head), *asked]
    metrics = list({metric.name: metric for metric in chosen}.values())
    kept = kept_from_shards(task, head, [metric for metric in metrics if metric.fidelity], shards)
    assert len(kept.engine.decisions) == len(rows), "the shards are not those of the rows"
    reference, engine = kept.reference.graded, kept.engine.graded
    table = _table(task, rows, metrics, gold, kept)
    scores = scores_from_table(table, truncated=kept.truncated, resamples=resamples)
    main = task.metrics(head)[0].name if gold is not None else task.main_fidelity
    _check_defined(scores, [main, *(metric.name for metric in asked)])
    points = () if gold is None else operating_points(metrics, head, gold, reference, engine)
    doubt = None
    if gold is not None:
        constant = is_constant(table.outputs_reference)
        doubt = doubt_of_reference(task, head, gold, reference, scores[main], constant=constant)
    return Comparison(
        accuracy=scores[main],
        metrics=tuple(score for name, score in scores.items() if name != main),
        operating_points=points,
        labelled=gold is not None,
        table=table,
        doubt=doubt,
        warnings=warnings_of_rows(table),
    )


def scores_from_table(
    table: RowTable, *, truncated: int = 0, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Score]:
    """Return name -> score of every metric of a table that is defined for its reference on its rows."""
    systems = [Sample(m.formula, s) for m in table.metrics for s in (m.reference, m.engine)]
    values = bootstrap_values(systems, groups_from_names(table.groups), resamples=resamples, seed=seed)
    points = [value_of(sample.formula, sample.statistics) for sample in systems]
    engine_only = {m.name: points[2 * i + 1] for i, m in enumerate(table.metrics)}
    scores: dict[str, Score] = {}
    for index, metric in enumerate(table.metrics):
        reference, engine = points[2 * index : 2 * index + 2]
        if not math.isfinite(reference):
            continue
        sign = 1.0 if metric.direction == HIGHER else -1.0
        drops = sign * (values[2 * index] - values[2 * index + 1])
        most = metric.bounds[1] - metric.bounds[0]
        formula = FORMULAS[metric.formula]
        scores[metric.name] = Score(
            metric=metric.name,
            direction=metric.direction,
            samples=formula.samples(metric.reference),
            unit=formula.unit,
            truncated=truncated,
            reference=reference,
            engine=engine,
            drop=sign * (reference - engine),
            drop_ci95=interval(drops, (-most, most)),
            drop_error=float(np.nanstd(drops)) if np.isfinite(drops).any() else math.nan,
            reference_ci95=interval(values[2 * index], metric.bounds),
            engine_ci95=interval(values[2 * index + 1], metric.bounds),
            largest_drop=most,
            agreement=_finite_or_none(engine_only.get("agreement")),
            logit_mse=_finite_or_none(engine_only.get("logit_mse")),
        )
    return scores


def _asked_metrics(task: Task, head: Head, extra: Sequence[str], *, labelled: bool) -> list[Metric]:
    asked = [metric_from_name(task, head, name) for name in extra]
    for metric in asked:
        if not labelled and not metric.fidelity:
            raise InputError(
                f"the metric '{metric.name}' needs labels and the validation data has none; name their column"
            )
    return asked


def _table(task: Task, rows: Sequence[Row], metrics: Sequence[Metric], gold: Any, kept: KeptRows) -> RowTable:
    return RowTable(
        task=task.name,
        hashes=np.array([int(row.hash, 16) for row in rows], np.uint64),
        labels=hash_labels(rows),
        groups=tuple(row.group for row in rows),
        decisions_reference=kept.reference.decisions,
        decisions_engine=kept.engine.decisions,
        outputs_reference=kept.reference.packed,
        outputs_engine=kept.engine.packed,
        metrics=tuple(_metric_rows(metric, gold, kept) for metric in metrics),
    )


def _metric_rows(metric: Metric, gold: Any, kept: KeptRows) -> MetricRows:
    if metric.fidelity:
        reference, engine = kept.fidelity[metric.name]
    else:
        graded = kept.reference.graded, kept.engine.graded
        reference, engine = (kept_statistics(metric.statistics(gold, each), metric.formula) for each in graded)
    return MetricRows(
        name=metric.name,
        direction=metric.direction,
        formula=metric.formula,
        bounds=metric.bounds,
        reference=reference,
        engine=engine,
    )


def _check_defined(scores: Mapping[str, Score], names: Sequence[str]) -> None:
    for name in names:
        if name not in scores:
            raise InputError(
                f"the metric '{name}' is not defined for the float model on these rows (no row has the label, or all "
                "labels or all of its outputs are alike); give validation data with such rows or leave the metric away"
            )


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finite(bounds: tuple[float, float]) -> tuple[float, float] | None:
    return bounds if all(map(math.isfinite, bounds)) else None
