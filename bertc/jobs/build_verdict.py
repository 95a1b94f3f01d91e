"""What a build said of its artefact that a later validation needs: its recipe, its doubt, its search's failure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.artefact.layout import RECIPE_FILE
from bertc.core.head import Head
from bertc.evaluate.gates import gates_from_options
from bertc.evaluate.reference import Doubt
from bertc.evaluate.task import Task
from bertc.jobs.inspect import report_of_artefact
from bertc.recipe import Recipe, ValidationRecipe, recipe_from_path
from bertc.report.text import search_failure


def recipe_of_artefact(folder: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe that an artefact was built by, with some fields replaced."""
    return recipe_from_path(folder / RECIPE_FILE, overrides)


def doubt_of_build(folder: Path) -> Doubt | None:
    """Return what the build doubted of the float model, whose outputs are the same here."""
    part = report_of_artefact(folder).doubt
    return None if part is None else Doubt(**part.model_dump())


def search_of_build(folder: Path) -> str:
    """Return why the build's search failed it, empty where it did not.

    A search keeps a margin to its budget, on rows that only the build has, so the gates alone may pass what it failed.
    """
    return search_failure(report_of_artefact(folder))


def has_gates_of_build(folder: Path, wanted: ValidationRecipe, task: Task, head: Head) -> bool:
    """Say whether `wanted` asks the gates of the build again: of others its search says nothing."""
    built = recipe_of_artefact(folder, {}).validation
    # With labels or without, both would have the same implied gates: they are compared, not asked.
    asked = [{*gates_from_options(options, task, head, labelled=True)} for options in (wanted, built)]
    return asked[0] == asked[1] and wanted.decide == built.decide
