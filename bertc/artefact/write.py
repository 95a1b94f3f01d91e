"""Write the files of an artefact into its working folder, the manifest last."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertc.artefact.layout import (
    CONFIG_FILE,
    HEAD_FILE,
    MODULES_FILE,
    PAGE_FILE,
    RECIPE_FILE,
    REPORT_FILE,
    ROWS_FILE,
    SENTENCE_FILES,
    TABLE_FILE,
)
from bertc.artefact.manifest import Binding, Provenance, ValidOn, write_manifest
from bertc.calibrate.table import text_from_table
from bertc.checkpoint import Checkpoint
from bertc.checkpoint.cross_encoder import FILE as SENTENCE_CONFIG_FILE
from bertc.checkpoint.files import contained_path, read_json
from bertc.checkpoint.interaction_files import METADATA
from bertc.evaluate.rows_file import write_rows
from bertc.recipe import text_from_recipe
from bertc.report.html.page import html_from_report
from bertc.report.parts.facts import BuildFacts
from bertc.report.schema import Report, report_to_json
from bertc.runtime.optimized import Optimized
from bertc.tasks import task_from_name

DROPPED_CONFIG = ("_name_or_path", "auto_map")
"""config.json fields that name a path of the build machine, or code that nothing should run."""


def write_artefact(folder: Path, facts: BuildFacts, report: Report) -> None:
    """Write everything beside the model's files, which are already there."""
    config = {name: value for name, value in facts.checkpoint.config.items() if name not in DROPPED_CONFIG}
    _write_json(folder / CONFIG_FILE, config)
    described = {
        "schema": 1,
        "head": asdict(facts.checkpoint.head),
        "max_length": facts.max_length,
        "row_length": facts.row_length,
        "open_with": dict(facts.target.runtime.options),
    }
    _write_json(folder / HEAD_FILE, described)
    facts.checkpoint.encoder.save(folder)
    if task_from_name(facts.checkpoint.head.task).sentence_modules:
        _copy_sentence_files(folder, facts.checkpoint)
    if facts.table is not None:
        (folder / TABLE_FILE).write_text(text_from_table(facts.table), encoding="utf-8")
    (folder / RECIPE_FILE).write_text(text_from_recipe(facts.recipe), encoding="utf-8")
    if facts.comparison is not None and facts.validation is not None:
        origin = {
            "cpu": facts.cpu.model,
            "target": facts.target.name,
            "checkpoint": facts.checkpoint.digest,
            "validation": facts.validation.digest,
            **{f"version {name}": version for name, version in facts.versions.items()},
            "bertc": report.bertc,
        }
        write_rows(folder / ROWS_FILE, facts.comparison.table, origin)
    (folder / REPORT_FILE).write_text(report_to_json(report), encoding="utf-8")
    (folder / PAGE_FILE).write_text(html_from_report(report), encoding="utf-8")
    write_manifest(
        folder,
        Provenance(
            target=facts.target.name, checkpoint=facts.checkpoint.digest, cpu=facts.cpu, versions=facts.versions
        ),
        valid_on=ValidOn(machine=facts.cpu.machine, cpu_features_any=facts.target.demands),
        unvalidated=report.unvalidated,
        binding=_binding(facts.optimized),
        exit_threshold=facts.checkpoint.head.exit_threshold,
    )


def _copy_sentence_files(folder: Path, checkpoint: Checkpoint) -> None:
    """Copy what sentence-transformers, PyLate and ColBERT read: modules, every folder that they name, and settings.

    The encoder's folder becomes the artefact's own, where its configuration, tokenizer and model lie.
    """
    root, encoder = checkpoint.path, checkpoint.weights.files[0].parent
    names = [(encoder / name, name) for name in SENTENCE_FILES]
    names += [(root / name, name) for name in (SENTENCE_CONFIG_FILE, MODULES_FILE, METADATA)]
    modules = read_json(root / MODULES_FILE) if (root / MODULES_FILE).is_file() else []
    for module in modules:
        place = contained_path(root, module.get("path", ""), root / MODULES_FILE)
        if place == encoder:
            module["path"] = ""
        else:
            names += [(file, f"{module['path']}/{file.name}") for file in sorted(place.glob("*")) if file.is_file()]
    for source, name in names:
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    if encoder != root:
        _write_json(folder / MODULES_FILE, modules)


def _binding(optimized: Optimized) -> Binding | None:
    """Return what the model's files are bound to, None where they run anywhere."""
    if not optimized.bound_to:
        return None
    bound = optimized.bound_to
    return Binding(device=bound["device"], driver=bound["driver"], runtime=optimized.runtime)


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
