"""The search from end to end: families of schemes, a cost model of each, the walk over its sites, the finalists' times.

A mode that is named stays. What the recipe leaves open is searched: the granularity, the smoothing, and which sites
stay in float. Candidates that pass on the held-out rows are timed side by side, and the fastest is chosen; of those
that are equally fast, the most accurate.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from bertc.cache.stages import Work
from bertc.checkpoint import Checkpoint
from bertc.core.keys import Key, key_of
from bertc.core.progress import Progress, Silent
from bertc.core.versions import library_versions
from bertc.data.encoded import Encoded
from bertc.export.engine_options import EngineOptions
from bertc.ir.graph_digest import digest_of_graph
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.quantize.insert import Quantized
from bertc.quantize.lowered import Lowered, lowered_graph
from bertc.quantize.quantization import Quantization
from bertc.quantize.sensitivity import sensitivity_from_graph
from bertc.runtime.machine.cpu import cpu_features
from bertc.search.cost import Measure, costs_from_times, roles_to_time, shape_of_text, timing_at
from bertc.search.cost_model import NOISE, CostModel
from bertc.search.held import HeldOut
from bertc.search.judge import Judged
from bertc.search.pool import run_in, searching_workers
from bertc.search.trials import Memory, Trials
from bertc.search.walk import walk_sites
from bertc.targets import Target, TargetModel
from bertc.tasks import outputs_from_head

FINALISTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A scheme, how it did on the held-out rows, and its milliseconds: timed, or else modelled."""

    scheme: Scheme
    judged: Judged
    milliseconds: float
    timed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A site that the search left in float: its sensitivity alone in INT8, and the milliseconds that float adds."""

    site: Site
    sensitivity: float
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found: `chosen` is the place of its scheme in `trials`. That one did not pass only if none did."""

    trials: tuple[Trial, ...]
    chosen: int
    left: tuple[Left, ...]
    rows: int
    labelled: bool
    layers: int
    shape: tuple[int, int]
    float_milliseconds: float
    start_milliseconds: float

    @property
    def scheme(self) -> Scheme:
        """The chosen scheme."""
        return self.trials[self.chosen].scheme

    @property
    def passed(self) -> bool:
        """Whether the chosen scheme stays within the budget on the held-out rows."""
        return self.trials[self.chosen].judged.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """All that a search reads.

    `starts` are the schemes whose sites are searched, the user's own first; `quantization` has the table and the
    method of all of them. `reference` is the float model. At most about `trials` schemes are evaluated, by `workers`
    (0: those of the job, or else one per core), and timed with `threads`.
    """

    checkpoint: Checkpoint
    graph: ir.Model
    target: Target
    options: EngineOptions
    quantization: Quantization
    starts: tuple[Scheme, ...]
    calibration: Encoded
    held: HeldOut
    reference: TargetModel
    scratch: Path
    trials: int
    workers: int
    threads: int

    def lowered(self, scheme: Scheme) -> Lowered:
        """Make a scheme's model by the one way that the build itself takes."""
        return lowered_graph(self.graph, self.target, replace(self.quantization, scheme=scheme), options=self.options)

    def quantized(self, scheme: Scheme) -> Quantized:
        """Return a scheme's Q/DQ graph."""
        quantized = self.lowered(scheme).quantized
        assert quantized is not None
        return quantized

    def write_model(self, scheme: Scheme) -> TargetModel:
        """Write a scheme's model into a folder of its own in the scratch folder."""
        folder = self.scratch / hashlib.sha256(repr(key_of(scheme)).encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        return self.target.written_model(self.lowered(scheme).graph, folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """One scheme without searched sites, and its cost model."""

    start: Scheme
    cost_model: CostModel

    def scheme(self, sites: frozenset[Site]) -> Scheme:
        """Return the scheme with these sites in float."""
        return replace(self.start, float_sites=self.start.float_sites | sites)

    def sites_of(self, scheme: Scheme) -> frozenset[Site]:
        """Return which of the cost model's sites a scheme leaves in float."""
        return scheme.float_sites & self.cost_model.sites


def search_scheme(problem: SearchProblem, *, work: Work, measure: Measure | None = None) -> SearchResult:
    """Find the fastest scheme that stays within the budget on the held-out rows, or else the one nearest to it.

    `measure` replaces the timing of engines. Everything measured or evaluated is kept in the cache.
    """
    held, checkpoint = problem.held, problem.checkpoint
    shape = shape_of_text(problem.calibration.features)
    timing = measure or timing_at(
        shape,
        checkpoint.head,
        vocabulary=checkpoint.architecture.vocabulary,
        positions=checkpoint.architecture.positions,
        threads=problem.threads,
    )
    memory = Memory(work.cache, key_of_problem(problem))
    with searching_workers(problem.workers, work.workers) as workers:
        run = run_in(workers, held.texts.features, checkpoint.head)
        trials = Trials(held, write_model=problem.write_model, run=run, memory=memory, progress=work.progress)
        return _Search(problem, trials, memory, timing, work.progress).result(shape)


class _Search:
    """Lives for one call of `search_scheme`."""

    def __init__(
        self, problem: SearchProblem, trials: Trials, memory: Memory, measure: Measure, progress: Progress
    ) -> None:
        self.problem = problem
        self.trials = trials
        self.memory = memory
        self.measure = measure
        self.progress = progress
        self.family_of: dict[Scheme, _Family] = {}
        self.float_milliseconds = 0.0

    def result(self, shape: tuple[int, int]) -> SearchResult:
        """Search every family, and choose."""
        problem = self.problem
        self.progress.stage("search: float")
        self.trials.refer_to(problem.reference)
        self.progress.stage("search: costs", total=len(problem.starts))
        families = [self._family(start) for start in problem.starts]
        self.progress.stage("search", total=problem.trials)
        self._evaluate([(family, sites) for family in families for sites in (frozenset(), family.cost_model.free())])
        for family in sorted(families, key=lambda family: family.cost_model.time(family.cost_model.free())):
            self._walk(family)
        self.progress.stage("search: finalists")
        times = self._final_times()
        listed = tuple(
            Trial(
                scheme=scheme,
                judged=judged,
                milliseconds=times[scheme] if scheme in times else self._modelled(scheme),
                timed=scheme in times,
            )
            for scheme, judged in self.trials.judged.items()
        )
        chosen = chosen_of(listed)
        return SearchResult(
            trials=listed,
            chosen=chosen,
            left=self._left(listed[chosen].scheme),
            rows=len(problem.held.texts.rows),
            labelled=problem.held.labelled,
            layers=problem.checkpoint.architecture.layers,
            shape=shape,
            float_milliseconds=self.float_milliseconds,
            start_milliseconds=families[0].cost_model.milliseconds,
        )

    def _family(self, start: Scheme) -> _Family:
        """Measure what a family's roles cost in float."""
        bare = CostModel(
            sites=frozenset(self.problem.quantized(start).scales), sensitivity={}, cost={}, milliseconds=0.0
        )
        family = _Family(start=start, cost_model=bare)
        roles = roles_to_time(bare)
        times = self._times({"start": start} | {str(role): family.scheme(roles[role]) for role in roles}, "costs")
        # Each family's engines are timed apart: the float engine beside them makes their times comparable.
        self.float_milliseconds = self.float_milliseconds or times["float"]
        pace = self.float_milliseconds / times["float"]
        base = times["start"] * pace
        costs = costs_from_times(bare, base, {role: times[str(role)] * pace for role in roles})
        self.progress.advance()
        return _Family(start=start, cost_model=replace(bare, cost=costs, milliseconds=base))

    def _with_sensitivity(self, family: _Family) -> _Family:
        """Measure what a family's sites cost in accuracy."""

        def compute() -> Mapping[str, float]:
            quantized, table = self.problem.quantized(family.start), self.problem.quantization.table
            features, outputs = self.problem.calibration.features, outputs_from_head(self.problem.checkpoint.head)
            errors = sensitivity_from_graph(quantized, table, features, outputs, progress=Silent())
            return {site.name: error for site, error in errors.items()}

        error_of_site = self.memory.figures("search-sensitivity", key_of(family.start), compute)
        sensitivity = {site: error_of_site[site.name] for site in family.cost_model.sites}
        return _Family(start=family.start, cost_model=replace(family.cost_model, sensitivity=sensitivity))

    def _walk(self, family: _Family) -> None:
        """Evaluate a family's sets, those that should be faster than what already passes."""
        most = self.problem.trials - len(self.trials.judged)
        passing = [self._modelled(scheme) for scheme, judged in self.trials.judged.items() if judged.passed]
        below = min(passing, default=math.inf)
        if most > 0 and family.cost_model.time(family.cost_model.free()) < below:
            walk_sites(
                self._with_sensitivity(family).cost_model,
                lambda sets: self._evaluate([(family, sites) for sites in sets]),
                below=below,
                most=most,
            )

    def _evaluate(self, sets: Sequence[tuple[_Family, frozenset[Site]]]) -> list[bool]:
        schemes = [family.scheme(sites) for family, sites in sets]
        self.family_of.update(zip(schemes, (family for family, _ in sets), strict=True))
        return [judged.passed for judged in self.trials.evaluate(schemes)]

    def _modelled(self, scheme: Scheme) -> float:
        family = self.family_of[scheme]
        return family.cost_model.time(family.sites_of(scheme))

    def _final_times(self) -> Mapping[Scheme, float]:
        """Time the passing schemes that should be fastest, side by side."""
        passing = [scheme for scheme, judged in self.trials.judged.items() if judged.passed]
        finalists = sorted(passing, key=self._modelled)[:FINALISTS]
        if not finalists:
            return {}
        times = self._times({str(number): scheme for number, scheme in enumerate(finalists)}, "finalists")
        pace = self.float_milliseconds / times["float"]
        return {scheme: times[str(number)] * pace for number, scheme in enumerate(finalists)}

    def _times(self, schemes: Mapping[str, Scheme], purpose: str) -> Mapping[str, float]:
        """Time engines of schemes beside the float engine, or take their times from the cache."""

        def compute() -> Mapping[str, float]:
            models = {name: self.problem.write_model(scheme) for name, scheme in schemes.items()}
            try:
                return dict(self.measure({"float": self.problem.reference} | models))
            finally:
                for folder in {model.path.parent for model in models.values()}:
                    shutil.rmtree(folder)

        return self.memory.figures(f"search-{purpose}", key_of(schemes), compute)

    def _left(self, chosen: Scheme) -> tuple[Left, ...]:
        sites = self.family_of[chosen].sites_of(chosen)
        if not sites:
            return ()
        cost_model = self._with_sensitivity(self.family_of[chosen]).cost_model
        return tuple(
            Left(
                site=site,
                sensitivity=cost_model.sensitivity[site],
                milliseconds=cost_model.time(sites) - cost_model.time(sites - {site}),
            )
            for site in sorted(sites)
        )


def chosen_of(trials: Sequence[Trial]) -> int:
    """Return the place of the fastest trial that passes (within the noise of timing, the most accurate of them).

    Without one that passes, the place of the one that uses least of the budget.
    """
    timed = [place for place, trial in enumerate(trials) if trial.timed and trial.judged.passed]
    if not timed:
        return min(range(len(trials)), key=lambda place: (trials[place].judged.used, trials[place].milliseconds, place))
    fastest = min(trials[place].milliseconds for place in timed)
    equal = [place for place in timed if trials[place].milliseconds <= fastest * (1 + NOISE)]
    return min(equal, key=lambda place: (trials[place].judged.used, place))


def names_from_sites(sites: Iterable[Site], layers: int) -> tuple[str, ...]:
    """Return what a recipe's keep_float says of sites: roles where every layer has it, else sites."""
    left = set(sites)
    whole = [role for role in Role if all(Site(layer, role) in left for layer in range(layers))]
    return (*map(str, whole), *(site.name for site in sorted(left) if site.role not in whole))


def key_of_problem(problem: SearchProblem) -> dict[str, Key]:
    """Return the keys of all that a trial or a time of a search depends on, beside its own scheme."""
    values: dict[str, Any] = {
        "head": problem.checkpoint.head,
        "target": problem.target,
        "options": problem.options,
        "table": problem.quantization.table,
        "method": problem.quantization.method,
        "calibration": problem.calibration,
        "held": problem.held.texts,
        "reference": problem.reference,
        "threads": problem.threads,
        "processor": cpu_features(),
        "versions": library_versions(),
    }
    return {"graph": digest_of_graph(problem.graph), **{name: key_of(value) for name, value in values.items()}}
