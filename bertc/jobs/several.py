"""Engines for several targets in one folder. What they have in common is read and calibrated once, through the cache.

The recipe's targets in, a folder out with an engine of each, its own report and verdict, and what all share.
"""

from __future__ import annotations

from pathlib import Path

from bertc.artefact.engines import SEVERAL_TARGETS, EngineIndex, engine_folder, entry_from_report, write_index
from bertc.artefact.manifest import Provenance, read_manifest, write_manifest
from bertc.artefact.swap import artefact_folder, scratch_beside
from bertc.cache.stages import Work, cached_work
from bertc.errors import InputError
from bertc.jobs.build import Built, build_into
from bertc.jobs.plan import checked_target
from bertc.recipe import Recipe
from bertc.runtime.machine.cpu import cpu_features


def build_several(recipe: Recipe, out: Path, *, work: Work, command: str) -> tuple[Built, ...]:
    """Build an engine for each target of the recipe into `out`, in their order.

    Raises `InputError` and `EnvironmentLackError` before anything slow where that can be known of any of them: then
    there is no folder. A verdict that is no pass is a result, as in a build of one.
    """
    check_recipe(recipe)
    recipes = [_for_target(recipe, target) for target in recipe.engine.targets]
    with (
        artefact_folder(out, progress=work.progress) as folder,
        scratch_beside(folder) as scratch,
        cached_work(work, scratch) as common,
    ):
        built = []
        for each in recipes:
            work.progress.end()  # that of the engine before
            work.progress.note(f"engine {each.engine.target}:")
            place = engine_folder(folder, each.engine.target)
            place.mkdir(parents=True)
            # A report has its own build's times.
            own = Work(common.cache, work.progress, alone=work.alone, workers=work.workers)
            built.append(build_into(place, each, work=own, command=command, shared=folder))
        write_index(folder, EngineIndex(engines=tuple(entry_from_report(each.report) for each in built)))
        manifests = [read_manifest(engine_folder(folder, each.engine.target)) for each in recipes]
        versions = {name: version for manifest in manifests for name, version in manifest.versions.items()}
        made = Provenance(
            target=SEVERAL_TARGETS, checkpoint=manifests[0].checkpoint, cpu=cpu_features(), versions=versions
        )
        write_manifest(folder, made, unvalidated=any(manifest.unvalidated for manifest in manifests))
    return tuple(built)


def check_recipe(recipe: Recipe) -> None:
    """Refuse what belongs to one engine, and a target that cannot run here, before a folder is made."""
    for wanted, words in ((recipe.search.enabled, "--search"), (recipe.early_exit.wanted, "early exit")):
        if wanted:
            raise InputError(
                f"{words} is decided for one engine, and --target names several; build it for one target, or leave "
                f"{words} away"
            )
    for target in recipe.engine.targets:
        checked_target(target, recipe.engine.attention)


def _for_target(recipe: Recipe, target: str) -> Recipe:
    return recipe.model_copy(update={"engine": recipe.engine.model_copy(update={"target": target})})
