"""The folder of a sweep: what lies where, what of an earlier run still holds, and its files written whole.

OUT/builds/CHECKPOINT/SCHEME       artefacts
OUT/failed/CHECKPOINT/SCHEME.json  why there is none
OUT/sweep.json  OUT/index.html     the figures of all, and the page of them
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bertc.artefact.destination import check_possible, check_replaceable
from bertc.artefact.kinds import SWEEP
from bertc.artefact.layout import MANIFEST_FILE, SWEEP_FILE, SWEEP_PAGE
from bertc.artefact.manifest import verify_artefact
from bertc.artefact.space import full_disk
from bertc.cache.lock import build_lock
from bertc.cache.store import key_from_parts
from bertc.checkpoint import checkpoint_from_path
from bertc.core.digest import digest_of_file, files_of_folder
from bertc.core.versions import library_versions
from bertc.errors import BertcError, InputError, is_full
from bertc.jobs.fastest import INT8_TARGETS, OTHERS
from bertc.jobs.sweep_build import decides_by_times
from bertc.recipe import AUTO_TARGET, Recipe, SweepBuild, text_from_recipe
from bertc.report.html.sweep import html_from_sweep
from bertc.report.sweep import SweepReport, SweepRow, sweep_from_json, sweep_to_json
from bertc.runtime.machine.cpu import cpu_features
from bertc.targets import target_from_name

BUILDS = "builds"
FAILED = "failed"
TIMING = ".timing"


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """A folder that this process has locked."""

    path: Path

    def artefact(self, build: SweepBuild | SweepRow) -> Path:
        """Return where a build's artefact lies."""
        return self.path / BUILDS / build.checkpoint / build.scheme

    def failure(self, build: SweepBuild | SweepRow) -> Path:
        """Return where it is said why a build failed."""
        return self.path / FAILED / build.checkpoint / f"{build.scheme}.json"

    def rows(self, cpu: str) -> list[SweepRow]:
        """Return what an earlier run found, without times of another processor.

        Raises `InputError` for a file that cannot be read.
        """
        path = self.path / SWEEP_FILE
        if not path.is_file():
            return []
        report = sweep_from_json(path.read_bytes(), source=str(path))
        lost = {} if report.cpu == cpu else {"latency": ()}
        return [row.model_copy(update=lost) for row in report.builds]

    def holds(self, row: SweepRow) -> bool:
        """Say whether the artefact that a row speaks of is there, whole and the same."""
        folder = self.artefact(row)
        try:
            verify_artefact(folder)
            return digest_of_file(folder / MANIFEST_FILE) == row.manifest
        except (InputError, OSError):
            return False

    def save(self, report: SweepReport) -> None:
        """Write the figures, by which the folder is known as a sweep's, and the page."""
        _write_whole(self.path / SWEEP_FILE, sweep_to_json(report))
        _write_whole(self.path / SWEEP_PAGE, html_from_sweep(report))

    def keep_failure(self, row: SweepRow, trace: str) -> None:
        """Write why a build failed."""
        path = self.failure(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {"checkpoint": row.checkpoint, "scheme": row.scheme, "target": row.target}
        facts |= {"error": row.reason, "exit_code": row.exit_code} | ({"trace": trace} if trace else {})
        _write_whole(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    def forget_failure(self, row: SweepRow) -> None:
        """Remove why a build failed, since it did not."""
        path = self.failure(row)
        path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def strangers(self, builds: Iterable[SweepBuild]) -> list[str]:
        """Name the artefacts and failures, by their paths in the folder, that are of no build of the sweep."""
        known = {place for build in builds for place in (self.artefact(build), self.failure(build))}
        artefacts = sorted(path.parent for path in (self.path / BUILDS).glob(f"*/*/{MANIFEST_FILE}"))
        failures = sorted((self.path / FAILED).glob("*/[!.]*.json"))
        return [path.relative_to(self.path).as_posix() for path in (*artefacts, *failures) if path not in known]

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder for the models that are only timed."""
        folder = self.path / TIMING
        shutil.rmtree(folder, ignore_errors=True)  # a killed sweep's
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked_folder(out: Path) -> Iterator[SweepFolder]:
    """Give the folder of a sweep, made if it is missing.

    Raises `InputError` if something else lies there, if it cannot be written, or if another process writes it.
    """
    check_possible(out)
    place = Path(os.path.realpath(out))
    place.parent.mkdir(parents=True, exist_ok=True)
    with build_lock(place.parent / f".{place.name}.bertc-lock", out=out):
        started = _beside(place / SWEEP_FILE)
        if place.is_dir() and files_of_folder(place) == (started.name,):
            started.unlink()  # a sweep's that was killed as it wrote its first file
        check_replaceable(out, SWEEP)
        place.mkdir(exist_ok=True)
        yield SweepFolder(place)


def keys_of_builds(builds: Sequence[SweepBuild]) -> list[str]:
    """Return what tells each build from one of another recipe, other inputs or another version; "" where it is unknown.

    What decides by times is another build on another processor. The key is unknown where a file or a library is
    missing: the build says which.
    """

    @cache
    def checkpoint(path: str, task: str | None) -> str:
        return checkpoint_from_path(path, task=task).digest

    @cache
    def file(path: str) -> str:
        return digest_of_file(Path(path))

    def key(recipe: Recipe) -> str:
        calibration, validation = recipe.calibration, recipe.validation
        try:
            parts = {
                "recipe": text_from_recipe(recipe),
                "checkpoint": checkpoint(recipe.checkpoint, recipe.task),
                "reference": validation.reference and checkpoint(validation.reference, recipe.task),
                "files": [path and file(path) for path in (calibration.data, calibration.table, validation.data)],
                "versions": _versions(recipe.engine.target),
            }
            if decides_by_times(recipe):
                parts["cpu"] = cpu_features().model
        except (BertcError, OSError, ImportError):
            return ""
        return key_from_parts("sweep", parts)

    return [key(build.recipe) for build in builds]


def _versions(target: str) -> dict[str, str]:
    """Return the versions of what a target runs with; of auto-cpu, of all that is here of what it tries."""
    if target != AUTO_TARGET:
        return library_versions(target_from_name(target).runtime.library)
    found: dict[str, str] = {}
    for tried in (*INT8_TARGETS, *OTHERS):
        with suppress(ImportError):  # it leaves out what is not there
            found |= library_versions(target_from_name(tried).runtime.library)
    return found


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; the name beside it is fixed, so that a killed sweep leaves it at most once."""
    beside = _beside(path)
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if is_full(error):
            raise full_disk(path) from error
        raise


def _beside(path: Path) -> Path:
    """Return where a file lies until it is whole."""
    return path.with_name(f".{path.name}.new")
