"""The search from end to end: families of schemes, the ground of each, the walk over it, and the finalists' real times.

A mode that is named stays. What the recipe leaves open is searched: the granularity, the smoothing, and which sites
stay in float. Candidates that pass on the held-out rows are timed side by side, and the fastest is chosen; of those
that are equally fast, the most accurate.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertc.artefact.cache import StageCache
from bertc.calibrate.table import CalibrationTable, text_from_table
from bertc.checkpoint import Checkpoint
from bertc.features import Progress, Silent
from bertc.graph.build import architecture_from_checkpoint
from bertc.graph.scheme import Granularity, Scheme
from bertc.graph.sites import Role, Site
from bertc.inputs import Encoded, length_from_recipe, scheme_from_recipe
from bertc.quantize.needs import has_histograms
from bertc.quantize.sensitivity import sensitivity_from_graph
from bertc.recipe import Recipe
from bertc.runtime.cpu import cpu_features, usable_cores
from bertc.search.cost import Measure, costs_from_times, roles_to_time, shape_of_text, timing_at
from bertc.search.ground import NOISE, Ground
from bertc.search.held import HeldOut
from bertc.search.judge import Judged
from bertc.search.pool import open_pool
from bertc.search.trials import Candidate, Export, Memory, Trials
from bertc.search.walk import walk_ground
from bertc.targets import target_from_name
from bertc.tasks import outputs_from_head
from bertc.versions import library_versions

FINALISTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate, how it did on the held-out rows, and its milliseconds: timed, or else modelled."""

    candidate: Candidate
    judged: Judged
    milliseconds: float
    timed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A site that the search left in float: its damage alone in INT8, and the milliseconds that float adds."""

    site: Site
    damage: float
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found: `recipe` gives the scheme without a search, `chosen` is its place in `trials`.

    The chosen one did not pass only if none did.
    """

    recipe: Recipe
    scheme: Scheme
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
    def passed(self) -> bool:
        """Whether the chosen scheme stays within the budget on the held-out rows."""
        return self.trials[self.chosen].judged.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a search reads. `export` writes a scheme's model as the build does; `float_model` is the reference."""

    recipe: Recipe
    checkpoint: Checkpoint
    table: CalibrationTable
    calibration: Encoded
    held: HeldOut
    export: Export
    float_model: Path
    scratch: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """One scheme without searched sites, and its ground."""

    start: Candidate
    ground: Ground

    def candidate(self, sites: frozenset[Site]) -> Candidate:
        """Return the candidate with these sites in float."""
        scheme = self.start.scheme
        return Candidate(recipe=self.start.recipe, scheme=replace(scheme, float_sites=scheme.float_sites | sites))

    def sites_of(self, candidate: Candidate) -> frozenset[Site]:
        """Return which of the ground's sites a candidate leaves in float."""
        return candidate.scheme.float_sites & self.ground.sites


def search_scheme(
    question: Question, *, cache: StageCache, progress: Progress, measure: Measure | None = None
) -> Found:
    """Find the fastest scheme that stays within the budget on the held-out rows, or else the one nearest to it.

    `measure` replaces the timing of engines. Everything measured or evaluated is kept in `cache`.
    """
    recipe, held, checkpoint = question.recipe, question.held, question.checkpoint
    architecture = architecture_from_checkpoint(checkpoint)
    shape = shape_of_text(question.calibration.features)
    timing = measure or timing_at(
        shape,
        checkpoint.head,
        vocabulary=architecture.vocabulary,
        positions=architecture.positions,
        threads=recipe.engine.threads,
    )
    memory = Memory(cache, _parts(question, shape))
    with open_pool(recipe.search.workers or usable_cores(), held.encoded.features, checkpoint.head) as run:
        trials = Trials(
            held,
            checkpoint.head,
            decide=recipe.validation.decide,
            export=question.export,
            run=run,
            memory=memory,
            scratch=question.scratch,
            progress=progress,
        )
        return _Search(question, trials, memory, timing, progress).found(shape)


class _Search:
    """Lives for one call of `search_scheme`."""

    def __init__(
        self, question: Question, trials: Trials, memory: Memory, measure: Measure, progress: Progress
    ) -> None:
        self.question = question
        self.trials = trials
        self.memory = memory
        self.measure = measure
        self.progress = progress
        self.family_of: dict[Candidate, _Family] = {}
        self.float_milliseconds = 0.0

    def found(self, shape: tuple[int, int]) -> Found:
        """Search every family, and choose."""
        starts = starts_from_recipe(self.question.recipe, self.question.checkpoint, self.question.table)
        self.progress.stage("search: costs", total=len(starts))
        families = [self._family(start) for start in starts]
        self.progress.stage("search", total=self.question.recipe.search.trials)
        self.trials.refer_to(self.question.float_model)
        self._evaluate([(family, sites) for family in families for sites in (frozenset(), family.ground.free())])
        for family in sorted(families, key=lambda family: family.ground.time(family.ground.free())):
            self._walk(family)
        self.progress.stage("search: finalists")
        times = self._final_times()
        listed = tuple(
            Trial(
                candidate=candidate,
                judged=judged,
                milliseconds=times[candidate] if candidate in times else self._modelled(candidate),
                timed=candidate in times,
            )
            for candidate, judged in self.trials.judged.items()
        )
        chosen = chosen_of(listed)
        best = listed[chosen].candidate
        return Found(
            recipe=_recipe_of(best, self.question.checkpoint),
            scheme=best.scheme,
            trials=listed,
            chosen=chosen,
            left=self._left(best),
            rows=len(self.question.held.encoded.rows),
            labelled=self.question.held.labelled,
            layers=architecture_from_checkpoint(self.question.checkpoint).layers,
            shape=shape,
            float_milliseconds=self.float_milliseconds,
            start_milliseconds=families[0].ground.milliseconds,
        )

    def _family(self, start: Candidate) -> _Family:
        """Measure what a family's roles cost in float."""
        quantized = self.question.export(start.recipe, start.scheme)[1]
        assert quantized is not None
        bare = Ground(sites=frozenset(quantized.scales), damage={}, cost={}, milliseconds=0.0)
        family = _Family(start=start, ground=bare)
        roles = roles_to_time(bare)
        times = self._times({"start": start} | {str(role): family.candidate(roles[role]) for role in roles}, "costs")
        # Each family's engines are timed apart: the float engine beside them makes their times comparable.
        self.float_milliseconds = self.float_milliseconds or times["float"]
        pace = self.float_milliseconds / times["float"]
        base = times["start"] * pace
        costs = costs_from_times(bare, base, {role: times[str(role)] * pace for role in roles})
        self.progress.advance()
        return _Family(start=start, ground=replace(bare, cost=costs, milliseconds=base))

    def _with_damage(self, family: _Family) -> _Family:
        """Measure what a family's sites cost in accuracy."""

        def compute() -> Mapping[str, float]:
            quantized = self.question.export(family.start.recipe, family.start.scheme)[1]
            assert quantized is not None
            features, outputs = self.question.calibration.features, outputs_from_head(self.question.checkpoint.head)
            errors = sensitivity_from_graph(quantized, self.question.table, features, outputs, progress=Silent())
            return {site.name: error for site, error in errors.items()}

        found = self.memory.figures("search-damage", family.start.parts, compute)
        damage = {site: found[site.name] for site in family.ground.sites}
        return _Family(start=family.start, ground=replace(family.ground, damage=damage))

    def _walk(self, family: _Family) -> None:
        """Evaluate a family's sets, those that should be faster than what already passes."""
        most = self.question.recipe.search.trials - len(self.trials.judged)
        passing = [self._modelled(c) for c, judged in self.trials.judged.items() if judged.passed]
        below = min(passing, default=math.inf)
        if most > 0 and family.ground.time(family.ground.free()) < below:
            walk_ground(
                self._with_damage(family).ground,
                lambda sets: self._evaluate([(family, sites) for sites in sets]),
                below=below,
                most=most,
            )

    def _evaluate(self, sets: Sequence[tuple[_Family, frozenset[Site]]]) -> list[bool]:
        candidates = [family.candidate(sites) for family, sites in sets]
        self.family_of.update(zip(candidates, (family for family, _ in sets), strict=True))
        return [judged.passed for judged in self.trials.evaluate(candidates)]

    def _modelled(self, candidate: Candidate) -> float:
        family = self.family_of[candidate]
        return family.ground.time(family.sites_of(candidate))

    def _final_times(self) -> Mapping[Candidate, float]:
        """Time the passing candidates that should be fastest, side by side."""
        passing = [candidate for candidate, judged in self.trials.judged.items() if judged.passed]
        finalists = sorted(passing, key=self._modelled)[:FINALISTS]
        if not finalists:
            return {}
        times = self._times({str(number): found for number, found in enumerate(finalists)}, "finalists")
        pace = self.float_milliseconds / times["float"]
        return {candidate: times[str(number)] * pace for number, candidate in enumerate(finalists)}

    def _times(self, candidates: Mapping[str, Candidate], purpose: str) -> Mapping[str, float]:
        """Time candidates beside the float engine, or take their times from the cache."""

        def compute() -> Mapping[str, float]:
            models = {name: self.trials.write_model(candidate) for name, candidate in candidates.items()}
            target = self.question.recipe.engine.target
            engines = {"float": ("float", self.question.float_model)}
            try:
                return dict(self.measure(engines | {name: (target, model) for name, model in models.items()}))
            finally:
                for model in set(models.values()):
                    shutil.rmtree(model.parent)

        parts = {name: candidate.parts for name, candidate in candidates.items()}
        return self.memory.figures(f"search-{purpose}", parts, compute)

    def _left(self, chosen: Candidate) -> tuple[Left, ...]:
        sites = self.family_of[chosen].sites_of(chosen)
        if not sites:
            return ()
        ground = self._with_damage(self.family_of[chosen]).ground
        return tuple(
            Left(site=site, damage=ground.damage[site], milliseconds=ground.time(sites) - ground.time(sites - {site}))
            for site in sorted(sites)
        )


def starts_from_recipe(recipe: Recipe, checkpoint: Checkpoint, table: CalibrationTable) -> list[Candidate]:
    """Return the recipe's scheme, and beside it those that differ in what the recipe leaves open.

    A granularity that is left out is also searched as `channel`, a smoothing that is left out with and without
    (with the table's exponent, and only in granularity channel: one scale per tensor gains nothing from it).
    """
    target, wanted = target_from_name(recipe.engine.target), recipe.quantization
    own = scheme_from_recipe(recipe, checkpoint, target)
    assert own is not None
    grains = [own.granularity] if wanted.granularity else [own.granularity, Granularity.CHANNEL]
    found: dict[Candidate, None] = {Candidate(recipe=recipe, scheme=own): None}
    if not has_histograms(table):  # ranges that somebody else chose, for one scheme
        return list(found)
    for grain in dict.fromkeys(grains):
        open_smoothing = (table.exponent, 0.0) if grain is Granularity.CHANNEL else (0.0,)
        for smoothing in open_smoothing if wanted.smoothing is None else (wanted.smoothing,):
            varied = _with(recipe, granularity=str(grain), smoothing=smoothing)
            scheme = scheme_from_recipe(varied, checkpoint, target)
            assert scheme is not None
            found.setdefault(Candidate(recipe=varied, scheme=scheme), None)
    return list(found)


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


def _recipe_of(candidate: Candidate, checkpoint: Checkpoint) -> Recipe:
    """Return the recipe that gives the candidate's scheme without a search."""
    scheme, recipe = candidate.scheme, candidate.recipe
    layers = architecture_from_checkpoint(checkpoint).layers
    chosen = _with(
        recipe,
        granularity=str(scheme.granularity),
        smoothing=scheme.smoothing or 0.0,
        keep_float=names_from_sites(scheme.float_sites, layers),
    )
    return chosen.model_copy(update={"search": recipe.search.model_copy(update={"enabled": False})})


def _with(recipe: Recipe, **quantization: Any) -> Recipe:
    return recipe.model_copy(update={"quantization": recipe.quantization.model_copy(update=quantization)})


def _parts(question: Question, shape: tuple[int, int]) -> dict[str, Any]:
    """Return all that a trial or a time of this search depends on, beside its own scheme."""
    recipe, checkpoint = question.recipe, question.checkpoint
    cpu = cpu_features()
    return {
        "checkpoint": checkpoint.digest,
        "head": repr(checkpoint.head),
        "recipe": recipe.model_dump(mode="json", exclude={"checkpoint", "validation", "search", "training"}),
        "max_length": length_from_recipe(recipe, checkpoint),
        "table": text_from_table(question.table),
        "rows": [row.hash for row in question.held.encoded.rows],
        "calibration": [row.hash for row in question.calibration.rows],
        "shape": list(shape),
        "cpu": [cpu.model, sorted(cpu.features)],
        "versions": library_versions(target_from_name(recipe.engine.target).LIBRARY),
    }
