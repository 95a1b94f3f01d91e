"""Scores -> verdict: which gates there are, what each allows, and what the numbers say.

A gate allows a drop: relative to the reference's value ("1%") or absolute ("0.01abs"). Drops are positive where the
engine is worse, so a gate needs no direction of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from bertc.core.head import Head
from bertc.core.number_text import figure
from bertc.errors import InputError
from bertc.evaluate.metric import LOWER, metric_from_name
from bertc.evaluate.reference import Doubt
from bertc.evaluate.scores import Comparison, Score
from bertc.evaluate.task import Task

Decide = Literal["point", "bound"]
Outcome = Literal["pass", "fail", "inconclusive"]

# "99%": the engine keeps 99 % of the float model's metric (the convention of MLPerf inference).
PRESETS = {"99%": 0.01, "99.9%": 0.001}
DEFAULT_PRESET = "99%"
# What a preset bounds without labels beside the main fidelity metric, in nats and as a share.
BESIDE_MAIN = ("divergence", "null_agreement")
ROUNDING = 1e-9  # a drop of exactly the limit passes, whatever the last bits of two subtractions say
Z95 = 1.96
RULE_OF_THREE = 3.0
UNDEFINED = "all of its outputs are alike, or none is a number"

LIMIT = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(%|abs)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """The drop that is allowed: a part of the reference's value, or absolute. `text` is as the user wrote it."""

    amount: float
    relative: bool
    text: str

    def allowed(self, score: Score) -> float | None:
        """Return the allowed drop in the metric's units; None for a part of a reference of 0, which is no limit."""
        if not self.relative:
            return self.amount
        return None if score.reference == 0 else self.amount * abs(score.reference)


def part_of_nothing(limit: Limit, metric: str) -> str:
    """Say that a limit is a part of a reference of 0, and what to give instead."""
    return (
        f"the limit {limit.text} of '{metric}' is relative to the reference's value, which is 0; "
        f"give an absolute limit, for example {metric}:0.01abs"
    )


@dataclass(frozen=True, slots=True)
class Gate:
    """A metric (by its own name) and the limit of its drop."""

    metric: str
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What one gate found; `as_dict` has the keys of report.json."""

    metric: str
    limit: str
    decide: Decide
    verdict: Outcome
    reason: str
    value: float | None
    drop_limit: float | None
    rows_needed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as report.json has it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All gates together. `summary` is the one line for exit code 1: by how much which gate was missed."""

    gates: tuple[GateResult, ...]
    passed: bool
    summary: str
    warnings: tuple[str, ...] = ()


def limit_from_text(text: str) -> Limit:
    """Read "1%" (a part of the reference's value) or "0.01abs". Raises `InputError` on anything else."""
    match = LIMIT.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' is no limit; write 1% (of the float model's value) or 0.01abs (absolute)")
    relative = match[2] == "%"
    amount = float(match[1]) / (100.0 if relative else 1.0)
    if relative and amount > 1:
        raise InputError(f"'{text}' allows a drop of more than everything; write a limit of at most 100%")
    return Limit(amount, relative, text.strip())


def gate_from_text(text: str, task: Task, head: Head) -> Gate:
    """Read "METRIC:LIMIT", for example "recall[spam]:0.5%". Raises `InputError` on an unknown metric or limit."""
    name, colon, limit = text.rpartition(":")
    if not colon or not name.strip():
        raise InputError(f"'{text}' is no gate; write METRIC:LIMIT, for example accuracy:1% or recall[spam]:0.01abs")
    return Gate(metric_from_name(task, head, name.strip()).name, limit_from_text(limit))


class GateOptions(Protocol):
    """What a user may ask for: `[validation]` of a recipe has these fields."""

    @property
    def gates(self) -> Sequence[str]:
        """Gates as "METRIC:LIMIT"."""

    @property
    def max_drop(self) -> str | None:
        """A limit of the main metric."""

    @property
    def min_agreement(self) -> float | None:
        """A gate on "agreement", 0 to 1."""

    @property
    def preset(self) -> str | None:
        """A name of `PRESETS`."""


def gates_from_options(options: GateOptions, task: Task, head: Head, *, labelled: bool) -> tuple[Gate, ...]:
    """Return the gates that options ask for.

    `gates` and `max_drop` replace the default, the preset "99%", and `min_agreement` that part of it that bounds the
    agreement, as it does without labels; a preset that is named holds beside all of them. Without labels the preset
    bounds the task's main fidelity metric and, of `BESIDE_MAIN`, those that the task has by the same number. Raises
    `InputError` on a wrong one, on a gate that needs labels where there are none, and on a part of a distance to the
    float model, whose own is 0.
    """
    chosen = [gate_from_text(text, task, head) for text in options.gates]
    main = task.metrics(head)[0].name if labelled else task.main_fidelity
    if options.max_drop is not None:
        chosen.append(Gate(main, limit_from_text(options.max_drop)))
    agreement = options.min_agreement
    if options.preset is not None or not chosen:
        implied = _preset_gates(task, head, options.preset or DEFAULT_PRESET, main, labelled=labelled)
        named = {"agreement"} if agreement is not None and options.preset is None else set()
        chosen += [gate for gate in implied if gate.metric not in named]
    if agreement is not None:
        if not 0 <= agreement <= 1:
            raise InputError(f"the agreement {agreement:g} is no part of 1; write for example 0.99")
        chosen.append(Gate("agreement", Limit(1.0 - agreement, False, f"{agreement:g} at least")))
    needing = {metric.name for metric in task.fidelity(head)}
    distances = {metric.name for metric in task.fidelity(head) if metric.direction == LOWER}
    for gate in chosen:
        if gate.limit.relative and gate.metric in distances:
            raise InputError(part_of_nothing(gate.limit, gate.metric))
        if not labelled and gate.metric not in needing:
            raise InputError(f"the gate on '{gate.metric}' needs labels and the data has none; name their column")
    return tuple(dict.fromkeys(chosen))


def judge(scores: Sequence[Score], gates: Sequence[Gate], *, decide: Decide = "point") -> Verdict:
    """Judge scores by gates.

    "point" compares the drop itself with the limit and warns when the set is too small to tell: when the limit lies
    within the 95 % interval and half the interval's width is more than the limit. "bound" passes if the interval's
    upper end is within the limit, fails if its lower end is beyond, and is inconclusive otherwise. Either fails a
    metric that is defined for the reference and not for the engine, and a part of a reference of 0, which is known when
    all has run: an artefact is worth keeping, and can be judged again. Raises `InputError` without gates or without a
    gate's score.
    """
    if not gates:
        raise InputError("there is no gate to judge by; name one with --gate or --max-drop")
    by_name = {score.metric: score for score in scores}
    for gate in gates:
        if gate.metric not in by_name:
            raise InputError(f"the gate on '{gate.metric}' has no score; there are {', '.join(by_name)}")
    pairs = [(gate, by_name[gate.metric]) for gate in gates]
    results = tuple(_result(gate, score, decide) for gate, score in pairs)
    missed = [result for result in results if result.verdict != "pass"]
    summary = "; ".join(result.reason for result in (missed or results))
    warnings = tuple(text for gate, score in pairs if decide == "point" and (text := _warning(gate, score)))
    return Verdict(gates=results, passed=not missed, summary=summary, warnings=warnings)


def judge_comparison(
    found: Comparison, gates: Sequence[Gate], *, decide: Decide = "point", any_reference: bool = False
) -> Verdict:
    """Judge a comparison by gates, and its float model besides: a grave doubt of it is a gate that failed, the first.

    With `any_reference` the user takes the float model as it is, and the doubt is only said. Raises as `judge` does.
    """
    doubt = found.doubt if found.doubt is not None and found.doubt.grave and not any_reference else None
    if doubt is None:
        verdict = judge(found.scores, gates, decide=decide)
    else:
        verdict = judge_doubtful(found.scores, gates, doubt, decide=decide)
    return replace(verdict, warnings=(*found.warnings, *verdict.warnings))


def judge_doubtful(
    scores: Sequence[Score], gates: Sequence[Gate], doubt: Doubt, *, decide: Decide = "point"
) -> Verdict:
    """Judge by gates where the float model itself has failed; a part of a reference of 0 is no gate then."""
    by_name = {score.metric: score for score in scores}
    judged = [
        gate for gate in gates if gate.metric not in by_name or gate.limit.allowed(by_name[gate.metric]) is not None
    ]
    first = GateResult(
        metric=doubt.metric,
        limit=f"float above {figure(doubt.floor)}",
        decide=decide,
        verdict="fail",
        reason=doubt.reason,
        value=doubt.value,
        drop_limit=None,
    )
    verdict = judge(scores, judged, decide=decide) if judged else Verdict(gates=(), passed=False, summary="")
    missed = [first, *(result for result in verdict.gates if result.verdict != "pass")]
    summary = "; ".join(result.reason for result in missed)
    return replace(verdict, gates=(first, *verdict.gates), passed=False, summary=summary)


def drop_bounds(score: Score) -> tuple[float, float]:
    """Return the interval of the drop to decide by.

    Where no row differs every resampling is the same, and the bootstrap's interval has no width. Then the rule of three
    holds (Hanley and Lippman-Hand 1983): what was not seen in n rows happens, at 95 % confidence, in at most 3 / n.
    """
    low, high = score.drop_ci95
    return (low, min(high + RULE_OF_THREE / score.samples, score.largest_drop)) if low == high else (low, high)


def rows_needed(score: Score, allowed: float) -> int | None:
    """Return how many rows (or queries) like these would settle a bound: where half the interval is |limit - drop|.

    n' = n (1.96 error / |limit - drop|)^2, or 3 / (limit - drop) where no row differs. None if the drop lies on the
    limit, where no number would.
    """
    distance = abs(allowed - score.drop)
    if distance > ROUNDING and score.drop_ci95[0] == score.drop_ci95[1]:
        return max(score.samples + 1, math.ceil(RULE_OF_THREE / distance))
    if distance <= ROUNDING or not math.isfinite(score.drop_error):
        return None
    needed = score.samples * (Z95 * score.drop_error / distance) ** 2
    return max(score.samples + 1, math.ceil(needed))


def _preset_gates(task: Task, head: Head, preset: str, main: str, *, labelled: bool) -> list[Gate]:
    if preset not in PRESETS:
        raise InputError(f"'{preset}' is no preset; there are {' and '.join(PRESETS)}")
    amount = PRESETS[preset]
    if labelled:
        return [Gate(main, Limit(amount, True, f"{100 * amount:g}%"))]
    found = [Gate(main, Limit(amount, False, f"{amount:g}abs"))]
    beside = [metric.name for metric in task.fidelity(head) if metric.name in BESIDE_MAIN]
    return found + [Gate(name, Limit(amount, False, f"{amount:g}abs")) for name in beside]


def _result(gate: Gate, score: Score, decide: Decide) -> GateResult:
    allowed = gate.limit.allowed(score)
    verdict, needed = _decision(score, allowed, decide)
    return GateResult(
        metric=gate.metric,
        limit=gate.limit.text,
        decide=decide,
        verdict=verdict,
        reason=_reason(gate, score, allowed, verdict, needed),
        value=score.drop if math.isfinite(score.drop) else None,
        drop_limit=allowed,
        rows_needed=needed,
    )


def _decision(score: Score, allowed: float | None, decide: Decide) -> tuple[Outcome, int | None]:
    if allowed is None or not math.isfinite(score.drop):
        return "fail", None
    if decide == "point":
        return ("pass" if score.drop <= allowed + ROUNDING else "fail"), None
    low, high = drop_bounds(score)
    if high <= allowed + ROUNDING:
        return "pass", None
    if low > allowed + ROUNDING:
        return "fail", None
    return "inconclusive", rows_needed(score, allowed)


def _reason(gate: Gate, score: Score, allowed: float | None, verdict: Outcome, needed: int | None) -> str:
    if not math.isfinite(score.drop):
        return f"{gate.metric} is {figure(score.reference)} for float and not defined for the engine: {UNDEFINED}"
    if allowed is None:
        return part_of_nothing(gate.limit, gate.metric)
    went = (
        f"{gate.metric} went from {figure(score.reference)} to {figure(score.engine)}, a drop of {figure(score.drop)}"
    )
    limit = f"the limit of {figure(allowed)} ({gate.limit.text})"
    low, high = drop_bounds(score)
    if verdict == "pass":
        return f"{went}, within {limit}"
    if verdict == "fail":
        return f"{went}, {figure(score.drop - allowed)} beyond {limit}"
    number = "no number of" if needed is None else f"about {needed}"
    settle = f"{number} {score.unit} would settle it"
    return f"{went}, and the 95 % interval [{figure(low)}, {figure(high)}] holds {limit}; {settle}"


def _warning(gate: Gate, score: Score) -> str | None:
    allowed = gate.limit.allowed(score)
    if allowed is None:
        return None
    low, high = drop_bounds(score)
    clear = high <= allowed or low > allowed
    few = score.drop_ci95[0] == score.drop_ci95[1] or 0.5 * (high - low) > allowed
    if not math.isfinite(high - low) or clear or not few:
        return None
    return (
        f"{score.samples} {score.unit} are too few to tell a drop of {figure(allowed)} in {gate.metric}: its 95 % "
        f"interval is [{figure(low)}, {figure(high)}]; give more {score.unit}, or decide by the bound (--decide bound)"
    )
