"""Write the files of an artefact into its working folder, the manifest last."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertc.artefact.manifest import Binding, ValidOn, write_manifest
from bertc.calibrate.table import text_from_table
from bertc.evaluate.rows_file import ROWS_FILE, write_rows
from bertc.recipe import text_from_recipe
from bertc.report.html.page import html_from_report
from bertc.report.parts.built import BuildFacts
from bertc.report.schema import Report, report_to_json
from bertc.runtime.optimized import Optimized
from bertc.tasks import task_from_name

HEAD_FILE = "bertc.json"
DROPPED_CONFIG = ("_name_or_path", "auto_map")
"""config.json fields that name a path of the build machine, or code that nothing should run."""

SENTENCE_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)


def write_artefact(folder: Path, facts: BuildFacts, report: Report) -> None:
    """Write everything beside the model's files, which are already there."""
    config = {name: value for name, value in facts.checkpoint.config.items() if name not in DROPPED_CONFIG}
    _write_json(folder / "config.json", config)
    described = {
        "schema": 1,
        "head": asdict(facts.checkpoint.head),
        "max_length": facts.max_length,
        "row_length": facts.row_length,
        "open_with": dict(facts.target.runtime.options),
    }
    _write_json(folder / HEAD_FILE, described)
    facts.checkpoint.encoder.save(folder)
    for name in SENTENCE_FILES:
        source = facts.checkpoint.path / name
        if source.is_file() and task_from_name(facts.checkpoint.head.task).sentence_modules:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, folder / name)
    if facts.table is not None:
        (folder / "calibration.json").write_text(text_from_table(facts.table), encoding="utf-8")
    (folder / "recipe.toml").write_text(text_from_recipe(facts.recipe), encoding="utf-8")
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
    (folder / "report.json").write_text(report_to_json(report), encoding="utf-8")
    (folder / "report.html").write_text(html_from_report(report), encoding="utf-8")
    write_manifest(
        folder,
        target=facts.target.name,
        checkpoint=facts.checkpoint.digest,
        cpu=facts.cpu,
        versions=facts.versions,
        valid_on=ValidOn(machine=facts.cpu.machine, cpu_features_any=facts.target.demands),
        unvalidated=report.unvalidated,
        binding=_binding(facts.optimized),
    )


def _binding(optimized: Optimized) -> Binding | None:
    """Return what the model's files are bound to, None where they run anywhere."""
    if not optimized.bound_to:
        return None
    bound = optimized.bound_to
    return Binding(device=bound["device"], driver=bound["driver"], runtime=optimized.runtime)


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
