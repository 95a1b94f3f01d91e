"""Write the files of an artefact into its working folder, the manifest last."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from bertc.artefact.layout import (
    CONFIG_FILE,
    HEAD_FILE,
    PAGE_FILE,
    RECIPE_FILE,
    REPORT_FILE,
    ROWS_FILE,
    TABLE_FILE,
)
from bertc.artefact.manifest import Binding, Provenance, ValidOn, write_manifest
from bertc.artefact.sentence_files import write_json, write_sentence_files
from bertc.calibrate.table import text_from_table
from bertc.evaluate.rows_file import REFERENCE, VERSION, write_rows
from bertc.recipe import text_from_recipe
from bertc.report.html.page import html_from_report
from bertc.report.parts.facts import BuildFacts
from bertc.report.schema import Report, report_to_json
from bertc.runtime.optimized import Optimized
from bertc.tasks import task_from_name

DROPPED_CONFIG = ("_name_or_path", "auto_map")
"""config.json fields that name a path of the build machine, or code that nothing should run."""


def write_artefact(folder: Path, facts: BuildFacts, report: Report, *, shared: Path | None = None) -> None:
    """Write everything beside the model's files, which are already there.

    What engines of one checkpoint have in common goes into the folder `shared`, if that is another one.
    """
    common = folder if shared is None else shared
    config = {name: value for name, value in facts.checkpoint.config.items() if name not in DROPPED_CONFIG}
    write_json(common / CONFIG_FILE, config)
    described = {
        "schema": 1,
        "head": asdict(facts.checkpoint.head),
        "max_length": facts.max_length,
        "row_length": facts.row_length,
        "open_with": dict(facts.target.runtime.options),
    }
    write_json(folder / HEAD_FILE, described)
    facts.checkpoint.encoder.save(common)
    if task_from_name(facts.checkpoint.head.task).sentence_modules:
        settings = facts.target.runtime.sentence_settings if shared is None else {}  # one engine's are not another's
        write_sentence_files(common, facts.checkpoint, max_length=facts.max_length, settings=settings)
    if facts.table is not None:
        (common / TABLE_FILE).write_text(text_from_table(facts.table), encoding="utf-8")
    (folder / RECIPE_FILE).write_text(text_from_recipe(facts.recipe), encoding="utf-8")
    if facts.comparison is not None and facts.validation is not None:
        origin = {
            "cpu": facts.cpu.model,
            "target": facts.target.name,
            "checkpoint": facts.checkpoint.digest,
            **({} if facts.reference is None else {REFERENCE: facts.reference.digest}),
            "validation": facts.validation.digest,
            **{f"{VERSION}{name}": version for name, version in facts.versions.items()},
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


def _binding(optimized: Optimized) -> Binding | None:
    """Return what the model's files are bound to, None where they run anywhere."""
    if not optimized.bound_to:
        return None
    bound = optimized.bound_to
    return Binding(device=bound["device"], driver=bound["driver"], runtime=optimized.runtime)
