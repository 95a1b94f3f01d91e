"""Target `auto-cpu`: of all engines that this processor can run, the fastest on the user's own texts that passes.

In: a recipe whose target is `auto-cpu`. Out: the artefact of the engine that was chosen, built as if its target had
been named; its report lists the others with the reason against each.

Every candidate is exported and timed; then the gates judge them from the fastest on, until one passes. The slower ones
need no verdict, and the weights of those that are not judged need no correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bertc.artefact.swap import artefact_folder, scratch_beside
from bertc.cache.stages import Work, cached_work
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.errors import BertcError, EnvironmentLackError, InputError, OutputError
from bertc.evaluate.gates import Verdict
from bertc.evaluate.scores import Score
from bertc.jobs.build import (
    Base,
    Built,
    Model,
    build_into,
    check_model_fusion,
    choose_correction,
    evaluate_model,
    judge_engine,
    prepare_base,
    quantization_from_plan,
    read_inputs,
    write_model,
)
from bertc.jobs.plan import Plan, checked_target, plan_from_recipe
from bertc.quantize.correction import NO_CORRECTION
from bertc.quantize.quantization import Quantization
from bertc.recipe import QuantizationRecipe, Recipe
from bertc.report.choice import CandidatePart
from bertc.runtime.batch_plan import row_length_from_lengths
from bertc.runtime.engine import Engine, outputs_from_features
from bertc.runtime.latency import time_calls
from bertc.targets import target_from_name

AUTO = "auto-cpu"
INT8_TARGETS = ("native", "openvino", "ort-cpu")
SCHEMES = (("1", None), ("2", "channel"))
OTHERS = ("openvino-bf16", "ort-cpu-dynamic", "openvino-float", "float")
"""Targets and schemes, the expected fastest first: this is their order where they are equally fast."""

BATCH = 32
ROUNDS = 5
TIMED_TOKENS = 2048
"""Texts are timed up to this many tokens: enough to have all lengths, few enough for a second or so of each engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An engine to try: a name for people, and the recipe that builds it alone."""

    name: str
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Milliseconds per text: one at a time, and as texts arrive in batches."""

    alone: float
    batched: float

    @property
    def mean(self) -> float:
        """What candidates are ordered by: the geometric mean of both."""
        return math.sqrt(self.alone * self.batched)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the gates say of an engine."""

    verdict: Verdict
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A candidate's model, weights rounded to nearest, and how it was made."""

    candidate: Candidate
    plan: Plan
    quantization: Quantization | None
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An open engine, and whether its artefact will pack rows."""

    engine: Engine
    packs_rows: bool


Measure = Callable[[Mapping[str, Timed], Sequence[Feature], Head], Mapping[str, Speed]]


def build_fastest(recipe: Recipe, out: Path, *, work: Work, command: str, measure: Measure | None = None) -> Built:
    """Build the fastest candidate that passes the gates into `out`, or the nearest to passing if none does.

    `measure` replaces the timing. Raises `InputError` for a recipe that leaves nothing to choose by.
    """
    _check(recipe)
    with (
        artefact_folder(out, progress=work.progress) as folder,
        scratch_beside(folder) as scratch,
        cached_work(work, scratch) as shared,
    ):
        choice = _Choice(candidates_from_recipe(recipe), scratch, shared)
        chosen, listed = choice.made(measure or measured_speeds)
        final = Work(
            shared.cache, work.progress, workers=work.workers
        )  # the report has the times of the build that counts
        return build_into(folder, chosen.recipe, work=final, command=command, candidates=tuple(listed))


def candidates_from_recipe(recipe: Recipe) -> list[Candidate]:
    """List what is tried, the expected fastest first; a mode or granularity that the recipe names is the only one."""
    quantization = recipe.quantization
    named = quantization.model_fields_set & {"mode", "granularity"}
    schemes = [(quantization.mode, quantization.granularity)] if named else SCHEMES
    candidates = []
    for target in INT8_TARGETS:
        for mode, granularity in schemes:
            words = f"{target} mode {mode}" + (f" {granularity}" if granularity else "")
            candidates.append(Candidate(name=words, recipe=_with(recipe, target, mode=mode, granularity=granularity)))
    # A scheme that the recipe names is not theirs, and one in BF16 or FP32 would refuse it.
    plain = recipe.model_copy(update={"quantization": QuantizationRecipe()})
    return candidates + [Candidate(name=target, recipe=_with(plain, target)) for target in OTHERS]


def measured_speeds(engines: Mapping[str, Timed], features: Sequence[Feature], head: Head) -> Mapping[str, Speed]:
    """Time engines over texts, packed as they will be, interleaved: medians over rounds of milliseconds per text."""
    lengths = [feature.length for feature in features]
    packed = row_length_from_lengths(lengths, max(lengths))
    times = {}
    for step in (1, BATCH):
        parts = [features[start : start + step] for start in range(0, len(features), step)]
        calls = {
            name: [partial(outputs_from_features, timed.engine, part, head, row_length=length) for part in parts]
            for name, timed in engines.items()
            for length in [packed if timed.packs_rows else None]
        }
        seconds = time_calls(calls, ROUNDS)
        times[step] = {
            name: median(1e3 * sum(turn) / len(features) for turn in turns) for name, turns in seconds.items()
        }
    return {name: Speed(alone=times[1][name], batched=times[BATCH][name]) for name in engines}


def timed_features(features: Sequence[Feature]) -> list[Feature]:
    """Return texts for timing: evenly spread, in their order, up to `TIMED_TOKENS` tokens, so that lengths are real."""
    most = max(1, int(TIMED_TOKENS / fmean(feature.length for feature in features)))
    step = -(-len(features) // most)
    return list(features[::step])


class _Choice:
    """Lives for one call of `build_fastest`. `reasons` grows: why a candidate was not chosen."""

    def __init__(self, candidates: Sequence[Candidate], scratch: Path, work: Work) -> None:
        self.candidates = candidates
        self.scratch = scratch
        self.work = work
        inputs, _ = read_inputs(candidates[0].recipe, work=work, shared=True)
        self.base: Base = prepare_base(inputs, self._folder("reference"), work=work)
        self.reasons: dict[str, str] = {}

    def made(self, measure: Measure) -> tuple[Candidate, list[CandidatePart]]:
        """Return the chosen candidate, and the list of all for the report."""
        exported = [engine for engine in map(self._export, self.candidates) if engine is not None]
        if not exported:
            raise EnvironmentLackError(f"no engine can be built here: {'; '.join(self.reasons.values())}")
        self.work.progress.stage("candidates: speed")
        speeds = self._speeds(exported, measure)
        order = sorted(
            (engine for engine in exported if engine.candidate.name in speeds),
            key=lambda engine: speeds[engine.candidate.name].mean,
        )
        judged: dict[str, Judgement] = {}
        for engine in order:
            judgement = self._judged(engine)
            if judgement is None:
                continue
            judged[engine.candidate.name] = judgement
            if judgement.verdict.passed:
                break
        if not judged:
            raise OutputError(f"no engine gives finite numbers: {'; '.join(self.reasons.values())}")
        chosen = chosen_name(judged)
        timed = [engine.candidate for engine in order if engine.candidate.name not in self.reasons]
        listed = [self._part(candidate, speeds, judged, chosen) for candidate in timed]
        listed += [self._part(other, speeds, judged, chosen) for other in self.candidates if other.name in self.reasons]
        return next(engine.candidate for engine in order if engine.candidate.name == chosen), listed

    def _export(self, candidate: Candidate) -> Exported | None:
        """Write a candidate's model as its build would; None, and a reason, where that is refused."""
        inputs = self.base.inputs
        try:
            checked_target(candidate.recipe.engine.target)
            plan = plan_from_recipe(candidate.recipe, inputs.checkpoint, inputs.lengths, longest=inputs.max_length)
            quantization = quantization_from_plan(plan, self.base, work=self.work)
            model = write_model(
                plan, self.base, quantization, NO_CORRECTION, self._folder(candidate.name), work=self.work
            )
            check_model_fusion(plan, self.base, quantization, model, work=self.work)
        except BertcError as error:
            self._leave_out(candidate, "cannot be built", error)
            return None
        return Exported(candidate=candidate, plan=plan, quantization=quantization, model=model)

    def _leave_out(self, candidate: Candidate, what: str, error: BertcError) -> None:
        """Keep the reason why a candidate is none, and say it."""
        self.reasons[candidate.name] = str(error)
        self.work.progress.note(f"{candidate.name} {what}: {error}")

    def _speeds(self, exported: Sequence[Exported], measure: Measure) -> Mapping[str, Speed]:
        """Time those that give finite numbers; what gives others has a reason, and no speed."""
        texts, head = self.base.inputs.texts, self.base.inputs.checkpoint.head
        assert texts is not None
        features = timed_features(texts.features)
        engines = {}
        with ExitStack() as stack:
            for each in exported:
                engine = stack.enter_context(each.model.files.opened(threads=each.plan.threads))
                try:
                    outputs_from_features(engine, features, head)
                except OutputError as error:
                    self._leave_out(each.candidate, "is left out", error)
                else:
                    engines[each.candidate.name] = Timed(engine=engine, packs_rows=each.plan.target.packs_rows)
            return measure(engines, features, head) if engines else {}

    def _judged(self, exported: Exported) -> Judgement | None:
        """Ask the gates of the model as its build would make it; None, and a reason, where its numbers are no numbers.

        The texts that are judged are more than those that were timed.
        """
        base, plan, model = self.base, exported.plan, exported.model
        correction = choose_correction(plan, base, exported.quantization, work=self.work)
        if correction.gemms:
            folder = self._folder(f"{exported.candidate.name} corrected")
            model = write_model(plan, base, exported.quantization, correction, folder, work=self.work)
        try:
            comparison = evaluate_model(plan, base, model, work=self.work)
        except OutputError as error:
            self._leave_out(exported.candidate, "is left out", error)
            return None
        verdict = judge_engine(base.inputs, comparison)
        assert comparison is not None and verdict is not None
        return Judgement(verdict=verdict, score=comparison.accuracy)

    def _part(
        self, candidate: Candidate, speeds: Mapping[str, Speed], judged: Mapping[str, Judgement], chosen: str
    ) -> CandidatePart:
        """Write a candidate's line of the report."""
        name, recipe = candidate.name, candidate.recipe
        speed, judgement = speeds.get(name), judged.get(name)
        facts: dict[str, Any] = {}
        if target_from_name(recipe.engine.target).static_int8:
            facts |= {"mode": int(recipe.quantization.mode), "granularity": recipe.quantization.granularity}
        if speed is not None:
            facts |= {"milliseconds_alone": speed.alone, "milliseconds_batched": speed.batched}
        if judgement is not None:
            verdicts = [gate.verdict for gate in judgement.verdict.gates if gate.verdict != "pass"]
            facts |= {"verdict": verdicts[0] if verdicts else "pass", "drop": judgement.score.as_dict()["drop"]}
            facts |= {"agreement": judgement.score.agreement}
        reason = self.reasons.get(name) or _reason(name, speeds, judgement, chosen)
        return CandidatePart(name=name, target=recipe.engine.target, chosen=name == chosen, reason=reason, **facts)

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name.replace(" ", "-")
        folder.mkdir()
        return folder


def chosen_name(judged: Mapping[str, Judgement]) -> str:
    """Return the one that passed, which is the last; where none did, the one that loses least."""
    last = list(judged)[-1]
    if judged[last].verdict.passed:
        return last
    return min(judged, key=lambda name: _lost(judged[name].score))


def _lost(score: Score) -> float:
    """Return the drop; the largest where the metric is not defined for the engine."""
    return math.inf if math.isnan(score.drop) else score.drop


def _reason(name: str, speeds: Mapping[str, Speed], judgement: Judgement | None, chosen: str) -> str:
    """Say why a candidate was chosen or not."""
    if judgement is None:
        return f"slower: {speeds[name].mean / speeds[chosen].mean:.2f} times the time of {chosen}"
    if judgement.verdict.passed:
        return "the fastest that passes the gates"
    missed = "; ".join(gate.reason for gate in judgement.verdict.gates if gate.verdict != "pass")
    return f"{'the best found, though none passes' if name == chosen else 'faster, but not passed'}: {missed}"


def _check(recipe: Recipe) -> None:
    """Refuse what leaves nothing to choose by."""
    if recipe.search.enabled:
        raise InputError(
            f"--search needs a target to search on, and {AUTO} chooses one; build with {AUTO} first, then search with "
            "the target that it chose"
        )
    if recipe.early_exit.wanted:
        raise InputError(f"early exit runs on the target native alone, and {AUTO} chooses one; name --target native")
    if recipe.validation.data is None:
        raise InputError(
            f"{AUTO} keeps the fastest engine that passes the gates, and there is no validation data to judge with; "
            "name a file with --validation-data, or choose a target"
        )


def _with(recipe: Recipe, target: str, **quantization: Any) -> Recipe:
    engine = recipe.engine.model_copy(update={"target": target})
    scheme = recipe.quantization.model_copy(update=quantization)
    return recipe.model_copy(update={"engine": engine, "quantization": scheme})
