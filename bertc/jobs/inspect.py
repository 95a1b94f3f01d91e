"""What is in a checkpoint, a calibration table, an artefact or an ONNX file, as plain values for printing and JSON."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertc.artefact.engines import index_of_folder
from bertc.artefact.layout import ENGINES_FILE, ENGINES_FOLDER, HEAD_FILE, MANIFEST_FILE, REPORT_FILE
from bertc.artefact.manifest import Manifest, unmet_demands, verify_artefact
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable, table_from_path
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.files import read_object
from bertc.core.head import Head
from bertc.errors import BertcError, InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.sites import Role, Site
from bertc.jobs.engine_choice import ANY, ChosenEngine, EngineWish, chosen_engine
from bertc.jobs.inputs import length_of_inputs
from bertc.jobs.predict import head_from_document
from bertc.report.schema import Report, report_from_json
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.ort.products import Verdict, products_from_path

Facts = dict[str, Any]
ROLES = tuple(Role)


def kind_of_path(path: str) -> str:
    """Return "artefact", "table", "onnx" or "checkpoint" (a folder, or a hub id)."""
    place = Path(path)
    if place.suffix == ".onnx" and not place.is_dir():
        return "onnx"
    if place.is_dir():
        # A checkpoint that bertc pruned or trained has a manifest as well, but no head's description.
        described = any((place / name).exists() for name in (HEAD_FILE, ENGINES_FILE, ENGINES_FOLDER))
        return "artefact" if described and (place / MANIFEST_FILE).exists() else "checkpoint"
    return "table" if place.is_file() or place.suffix == ".json" else "checkpoint"


def facts_of_checkpoint(path: str, *, task: str | None = None) -> Facts:
    """Describe a checkpoint: its family and sizes, its head, what of it is no part of the model, and why no build takes
    it, if so: `refused`, the sentence and the exit code.
    """
    checkpoint = checkpoint_from_path(path, task=task)
    architecture = checkpoint.architecture
    return {
        "kind": "checkpoint",
        "path": str(checkpoint.path),
        "digest": checkpoint.digest,
        "family": checkpoint.family,
        "layers": architecture.layers,
        "hidden": architecture.hidden,
        "heads": architecture.heads,
        "intermediate": architecture.intermediate,
        "activation": str(architecture.activation),
        "vocabulary": architecture.vocabulary,
        "positions": architecture.positions,
        "parameters": checkpoint.parameters,
        "ignored_bytes": checkpoint.ignored_bytes,
        "notes": list(checkpoint.notes),
        "max_length": checkpoint.encoder.max_length,
        "head": facts_of_head(checkpoint.head),
        "exits": [asdict(each) for each in checkpoint.exits],
        "refused": _refused(checkpoint),
    }


def _refused(checkpoint: Checkpoint) -> Facts | None:
    """Do what every build does with a checkpoint alone, whatever its target and data, and say what it refuses.

    Its weights are read for that, as values that are not finite are refused.
    """
    try:
        length_of_inputs(checkpoint, None)
        graph_from_checkpoint(checkpoint)
    except BertcError as error:
        return {"reason": str(error), "exit_code": error.exit_code}
    return None


def facts_of_head(head: Head) -> Facts:
    """Describe a head, without what it does not have, and without the numbers of an LSTM."""
    plain = asdict(replace(head, lstm=None))
    if head.lstm is not None:
        widths = [[direction.width for direction in layer] for layer in head.lstm.layers]
        plain["lstm"] = {"widths": widths, "over": str(head.lstm.over)}
    return {name: value for name, value in plain.items() if value is not False and value not in (None, ())}


def facts_of_table(path: Path, method: RangeMethod) -> Facts:
    """Describe a table: its origin, and each site's range under a method with the error of rounding to it."""
    table = table_from_path(path)
    origin = {name: value for name, value in table.origin.items() if name != "row_hashes"}
    return {
        "kind": "table",
        "path": str(path),
        "checkpoint": table.checkpoint,
        "origin": origin,
        "exponent": table.exponent,
        "calibrator": method.calibrator,
        "sites": [
            _site(table, site, method, smoothed=smoothed)
            for site in sorted(table.sites, key=lambda site: (site.layer, ROLES.index(site.role)))
            for smoothed in ((False, True) if site in table.smoothed else (False,))
        ],
    }


def _site(table: CalibrationTable, site: Site, method: RangeMethod, *, smoothed: bool) -> Facts:
    """Describe a site; a range that would collapse the model is None, with the reason."""
    statistics = table.statistics(site, smoothed=smoothed)
    facts: Facts = {"site": site.name, "smoothed": smoothed, "largest": statistics.amax, "amax": None, "error": None}
    try:
        amax = table.amax(site, method, smoothed=smoothed)
    except InputError as error:
        return {**facts, "refused": str(error)}
    lost = float(np.sqrt(statistics.quantization_error(amax))) if statistics.counts.any() else None
    facts |= {"amax": amax, "error": lost}
    return {**facts, "fixed": True} if site in table.overrides else facts


def facts_of_artefact(path: Path, wish: EngineWish = ANY) -> Facts:
    """Describe an artefact after its files are verified: engine, verdict, sizes, and each site's range and error.

    Of several engines, which are listed, it is the one of the wish.
    """
    chosen = chosen_engine(path, wish)
    folder, whole = chosen.folder, verify_artefact(chosen.shared)
    manifest = whole if chosen.shared == folder else verify_artefact(folder)
    report = report_of_artefact(folder)
    document = read_object(folder / HEAD_FILE)
    return {
        "kind": "artefact",
        "path": str(folder),
        "verified": True,
        "choice": chosen.reason,
        "engines": _engines(chosen),
        "target": manifest.target,
        "created": manifest.created,
        "bertc": manifest.bertc,
        "versions": manifest.versions,
        "cpu": manifest.cpu.model,
        "lacking_here": list(unmet_demands(manifest, cpu_features())),
        "bytes": bytes_of_artefact(manifest),
        "files": {name: record.bytes for name, record in manifest.files.items()},
        "checkpoint": report.checkpoint.model_dump(mode="json"),
        "head": facts_of_head(head_from_document(document.get("head"), folder)),
        "max_length": document.get("max_length"),
        "passed": report.passed,
        "unvalidated": report.unvalidated,
        "accuracy": None if report.accuracy is None else report.accuracy.model_dump(mode="json"),
        "engine": report.engine.model_dump(mode="json"),
        "gates": [gate.model_dump(mode="json") for gate in report.gates],
        "quantization": report.quantization.model_dump(mode="json"),
        "sites": [site.model_dump(mode="json", exclude={"histogram"}) for site in report.sites],
        "worst_sites": list(report.worst_sites),
        "warnings": list(report.warnings),
    }


def _engines(chosen: ChosenEngine) -> list[Facts]:
    """Return the line of each of several engines, nothing where there is one."""
    index = index_of_folder(chosen.shared)
    return [] if index is None else [entry.model_dump(mode="json") for entry in index.engines]


def facts_of_onnx(path: Path) -> Facts:
    """Describe an ONNX file of any tool: which of its products ONNX Runtime runs in INT8 here, and why not the others.

    `verdicts` counts them; `products` has each. Raises `InputError` for a file that ONNX Runtime cannot open.
    """
    found = products_from_path(path)
    cpu = cpu_features()
    return {
        "kind": "onnx",
        "path": str(path),
        "producer": found.producer,
        "opset": found.opset,
        "onnxruntime": found.onnxruntime,
        "cpu": cpu.model,
        "saturates": cpu.saturates,
        "count": found.number(),
        "verdicts": {str(verdict): found.number(verdict) for verdict in Verdict},
        "products": [asdict(product) for product in found.products],
    }


def report_of_artefact(folder: Path) -> Report:
    """Read an artefact's report. Raises `InputError` where there is none."""
    path = folder / REPORT_FILE
    try:
        return report_from_json(path.read_bytes(), source=str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); build the artefact again") from error


def bytes_of_artefact(manifest: Manifest) -> int:
    """Return the size of all files that the manifest names."""
    return sum(record.bytes for record in manifest.files.values())
