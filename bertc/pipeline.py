"""The compiler from end to end. Reading `build` is reading the table of contents.

checkpoint -> graph -> calibrate -> quantize -> export -> engine -> evaluate -> verdict
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.artefact.swap import artefact_folder
from bertc.calibrate.collect import ranges_from_batches
from bertc.calibrate.table import CalibrationTable, table_from_path, text_from_table
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row, sample_rows
from bertc.errors import InputError
from bertc.evaluate.gate import Gate, Verdict, gates_from_options, judge
from bertc.evaluate.report import Report
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.export.embeddings import StoredEmbeddings, store_embeddings
from bertc.features import Feature, Head, Progress
from bertc.graph.architecture import Architecture
from bertc.graph.build import OUTPUTS, architecture_from_checkpoint, graph_from_checkpoint
from bertc.graph.scheme import DEFAULT_SMOOTHING, Scheme, scheme_from_options
from bertc.graph.sites import Site
from bertc.manifest import digest_of_file
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.quantize.sensitivity import sensitivity_from_graph
from bertc.recipe import Recipe
from bertc.report_parts import BuildFacts, report_from_facts
from bertc.runtime.cpu import cpu_features
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.latency import Latency, measure_latency
from bertc.runtime.ort import Optimized, check_fusion, optimized_from_model
from bertc.targets import Target, target_from_name
from bertc.tasks import Task, task_from_name
from bertc.versions import library_versions
from bertc.write_artefact import write_artefact

QA_LENGTH = 384
"""Window length of extractive question answering, as in BERT's SQuAD code."""

Outputs = Mapping[str, list[NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows of a data set, checked by the task, with their features."""

    path: str
    digest: str
    rows: tuple[Row, ...]
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build gives: the report, and the verdict unless it was unvalidated."""

    report: Report
    verdict: Verdict | None


def build(recipe: Recipe, out: Path, *, progress: Progress, cache: StageCache, command: str) -> Built:
    """Compile a checkpoint into the folder `out`.

    Raises `InputError` and `EnvironmentLackError` before anything slow where that can be known; the verdict of the
    gates is a result, not an error.
    """
    created = datetime.now(UTC)
    target = checked_target(recipe)
    with artefact_folder(out, progress=progress) as folder, scratch_folder(folder) as scratch:
        stages = Stages(cache, progress)
        with stages.timed("read"):
            progress.stage("read")
            checkpoint = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
            scheme = scheme_from_recipe(recipe, checkpoint, target)
            validation = validation_from_recipe(recipe, checkpoint)
            gates = gates_from_recipe(recipe, checkpoint.head, validation)
            graph = graph_from_checkpoint(checkpoint)
        table = calibration_stage(recipe, checkpoint, graph, scheme, stages, progress)
        float_model = float_model_stage(graph, stages, scratch, progress)
        quantized, stored, model = export_stage(recipe, target, graph, table, scheme, stages, folder, progress)
        optimized = optimized_from_model(model)
        if quantized is not None:
            check_fusion(
                optimized,
                expected={"attention": layers_of(checkpoint), "layer_norm": 2 * layers_of(checkpoint) + 1},
                gemms_int8=quantized.counts.get("weights", 0),
            )
        comparison = None
        if validation is not None:
            comparison = evaluate_stage(
                recipe, checkpoint, target, validation, gates, (float_model, model), stages, progress
            )
        verdict = None
        if comparison is not None:
            verdict = judge(comparison.scores, gates, decide=recipe.validation.decide)
        sensitivity = sensitivity_stage(recipe, checkpoint, quantized, table, stages, progress)
        latency = latency_stage(recipe, checkpoint, target, float_model, model, stages, progress)
        facts = BuildFacts(
            recipe=recipe,
            command=command,
            created=created,
            checkpoint=checkpoint,
            architecture=architecture_from_checkpoint(checkpoint),
            max_length=length_from_recipe(recipe, checkpoint),
            target=target,
            scheme=scheme,
            table=table,
            quantized=quantized,
            stored=stored,
            optimized=optimized,
            onnx_bytes=model.stat().st_size,
            reference_bytes=float_model.stat().st_size,
            validation_rows=() if validation is None else validation.rows,
            validation_digest="" if validation is None else validation.digest,
            comparison=comparison,
            verdict=verdict,
            sensitivity=sensitivity,
            latency=latency,
            stages=tuple(stages.times),
            cpu=cpu_features(),
            versions=library_versions(),
        )
        report = report_from_facts(facts)
        write_artefact(folder, facts, report)
    return Built(report=report, verdict=verdict)


def checked_target(recipe: Recipe) -> Target:
    """Find the recipe's target and ask whether this machine can run it."""
    target = target_from_name(recipe.engine.target)
    target.check_machine(cpu_features())
    return target


def layers_of(checkpoint: Checkpoint) -> int:
    """Return the number of encoder layers."""
    return architecture_from_checkpoint(checkpoint).layers


def scheme_from_recipe(recipe: Recipe, checkpoint: Checkpoint, target: Target | None) -> Scheme | None:
    """Return the scheme, without what the target cannot run; None for a target without static INT8."""
    if target is not None and not target.STATIC_INT8:
        return None
    wanted = recipe.quantization
    scheme = scheme_from_options(
        wanted.mode,
        granularity=wanted.granularity,
        smoothing=wanted.smoothing,
        keep_float=wanted.keep_float,
        layers=layers_of(checkpoint),
    )
    return scheme if target is None else scheme.without_roles(frozenset(target.FLOAT_ROLES))


def length_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> int:
    """Return the largest number of tokens of a model input."""
    if recipe.engine.max_length is not None:
        if recipe.engine.max_length > checkpoint.encoder.positions:
            raise InputError(
                f"max_length {recipe.engine.max_length} is more than the {checkpoint.encoder.positions} positions "
                f"of {checkpoint.path}; choose at most that"
            )
        return recipe.engine.max_length
    if checkpoint.head.task == "question-answering":
        return min(QA_LENGTH, checkpoint.encoder.max_length)
    return checkpoint.encoder.max_length


def validation_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> Encoded | None:
    """Read, check and encode the validation data. Raises `InputError` when there is none and nobody said so."""
    wanted = recipe.validation
    if wanted.data is None:
        if wanted.unvalidated:
            return None
        raise InputError(
            "there is no validation data, so nothing proves the engine's accuracy; name a file with "
            "--validation-data, or build with --unvalidated, which is stamped into the artefact"
        )
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(wanted.data, task=task.name, columns=wanted.columns, limit=wanted.limit)
    rows = task.check_rows(dataset.rows, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, length_from_recipe(recipe, checkpoint))
    return Encoded(path=wanted.data, digest=dataset.digest, rows=tuple(rows), features=tuple(features))


def calibration_from_recipe(recipe: Recipe, checkpoint: Checkpoint) -> Encoded:
    """Read, sample and encode the calibration text; its labels do not matter."""
    wanted = recipe.calibration
    if wanted.data is None:
        raise InputError("there is no calibration text; name a file with --calibration-data")
    task = task_from_name(checkpoint.head.task)
    dataset = dataset_from_path(wanted.data, task=task.name, columns=wanted.columns)
    chosen = [
        replace(row, label=None, tags=None, answers=())
        for row in sample_rows(dataset, wanted.samples, seed=wanted.seed)
    ]
    rows = task.check_rows(chosen, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, length_from_recipe(recipe, checkpoint))
    return Encoded(path=wanted.data, digest=dataset.digest, rows=tuple(rows), features=tuple(features))


def gates_from_recipe(recipe: Recipe, head: Head, validation: Encoded | None) -> tuple[Gate, ...]:
    """Read the gates, so that a wrong one is refused before anything slow."""
    if validation is None:
        return ()
    task = task_from_name(head.task)
    wanted = recipe.validation
    return gates_from_options(
        task,
        head,
        labelled=task.gold(validation.rows, head) is not None,
        gates=wanted.gates,
        max_drop=wanted.max_drop,
        min_agreement=wanted.min_agreement,
        preset=wanted.preset,
    )


def table_from_text(
    recipe: Recipe, checkpoint: Checkpoint, graph: ir.Model, encoded: Encoded, progress: Progress
) -> CalibrationTable:
    """Observe every site over the calibration text."""
    exponent = recipe.quantization.smoothing or DEFAULT_SMOOTHING
    return ranges_from_batches(
        graph,
        encoded.features,
        exponent=exponent,
        checkpoint=checkpoint.digest,
        origin={
            "data": encoded.path,
            "digest": encoded.digest,
            "seed": recipe.calibration.seed,
            "max_length": length_from_recipe(recipe, checkpoint),
            "row_hashes": [row.hash for row in encoded.rows],
        },
        progress=progress,
    )


def calibration_stage(
    recipe: Recipe,
    checkpoint: Checkpoint,
    graph: ir.Model,
    scheme: Scheme | None,
    stages: Stages,
    progress: Progress,
) -> CalibrationTable | None:
    """Return the table: the user's, a cached one, or a new one; None where nothing is calibrated."""
    if scheme is None:
        return None
    if recipe.calibration.table is not None:
        return given_table(recipe.calibration.table, checkpoint)
    encoded = calibration_from_recipe(recipe, checkpoint)
    return stages.kept(
        "calibrate",
        {
            "checkpoint": checkpoint.digest,
            "task": checkpoint.head.task,
            "rows": [row.hash for row in encoded.rows],
            "data": encoded.path,
            "digest": encoded.digest,
            "seed": recipe.calibration.seed,
            "max_length": length_from_recipe(recipe, checkpoint),
            "exponent": recipe.quantization.smoothing or DEFAULT_SMOOTHING,
            "versions": library_versions(),
        },
        compute=lambda: table_from_text(recipe, checkpoint, graph, encoded, progress),
        write=lambda table, folder: write_text(folder / "calibration.json", text_from_table(table)),
        read=lambda folder: table_from_path(folder / "calibration.json"),
    )


def given_table(path: str, checkpoint: Checkpoint) -> CalibrationTable:
    """Read the user's table and check that it belongs to the checkpoint."""
    table = table_from_path(Path(path))
    if table.checkpoint != checkpoint.digest:
        raise InputError(
            f"calibration table {path} was made for another checkpoint (digest {table.checkpoint[:12]}, this one is "
            f"{checkpoint.digest[:12]}); calibrate this checkpoint"
        )
    return table


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    path.write_text(text, encoding="utf-8")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Give a folder on the artefact's disk for what is not shipped."""
    with TemporaryDirectory(dir=folder.parent, prefix="scratch-") as scratch:
        yield Path(scratch)


def float_model_stage(graph: ir.Model, stages: Stages, scratch: Path, progress: Progress) -> Path:
    """Write the float reference; it is not shipped."""
    path = scratch / "float.onnx"
    with stages.timed("reference"):
        progress.stage("reference")
        ir.save(target_from_name("float").onnx_from_graph(graph), path)
    return path


def quantized_from_graph(recipe: Recipe, graph: ir.Model, table: CalibrationTable, scheme: Scheme) -> Quantized:
    """Insert the scheme's Q/DQ pairs."""
    wanted = recipe.calibration
    return quantize_graph(graph, table, scheme, calibrator=wanted.calibrator, percentile=wanted.percentile)


def export_stage(
    recipe: Recipe,
    target: Target,
    graph: ir.Model,
    table: CalibrationTable | None,
    scheme: Scheme | None,
    stages: Stages,
    folder: Path,
    progress: Progress,
) -> tuple[Quantized | None, StoredEmbeddings | None, Path]:
    """Quantize where the target wants it, lower, and write model.onnx."""
    model = folder / "model.onnx"
    with stages.timed("quantize and export"):
        progress.stage("quantize and export")
        stored = None if recipe.engine.target == "float" else store_embeddings(graph)
        source = graph if stored is None else stored.graph
        quantized = None
        if scheme is not None and table is not None:
            quantized = quantized_from_graph(recipe, source, table, scheme)
            source = quantized.graph
        ir.save(target.onnx_from_graph(source), model)
    return quantized, stored, model


def evaluate_stage(
    recipe: Recipe,
    checkpoint: Checkpoint,
    target: Target,
    validation: Encoded,
    gates: Sequence[Gate],
    models: tuple[Path, Path],
    stages: Stages,
    progress: Progress,
) -> Comparison:
    """Run float reference and engine over the whole validation set and compare them row by row."""
    float_model, model = models
    reference = _outputs(recipe, checkpoint, target_from_name("float"), float_model, validation, stages, progress)
    engine = _outputs(recipe, checkpoint, target, model, validation, stages, progress)
    with stages.timed("compare"):
        progress.stage("compare")
        task: Task = task_from_name(checkpoint.head.task)
        return compare_outputs(
            task,
            checkpoint.head,
            validation.rows,
            validation.features,
            reference,
            engine,
            extra=[gate.metric for gate in gates],
        )


def _outputs(
    recipe: Recipe,
    checkpoint: Checkpoint,
    target: Target,
    model: Path,
    validation: Encoded,
    stages: Stages,
    progress: Progress,
) -> Outputs:
    """Run one engine over the validation features, or take its outputs from the cache."""
    name = "evaluate float" if target is target_from_name("float") else "evaluate engine"

    def compute() -> Outputs:
        progress.stage(name, total=len(validation.features))
        engine = target.engine_from_onnx(model, threads=recipe.engine.threads)
        try:
            return outputs_from_features(engine, validation.features, checkpoint.head, progress=progress)
        finally:
            engine.close()

    parts = {
        "model": digest_of_file(model),
        "validation": validation.digest,
        "max_length": length_from_recipe(recipe, checkpoint),
        "tokenizer": checkpoint.digest,
        "cpu": [cpu_features().model, sorted(cpu_features().features)],
        "threads": recipe.engine.threads,
        "versions": library_versions(),
    }
    return stages.kept(name.replace(" ", "-"), parts, compute=compute, write=write_outputs, read=read_outputs)


def write_outputs(outputs: Outputs, folder: Path) -> None:
    """Write ragged arrays as one flat array and its shapes per output."""
    arrays: dict[str, Any] = {}
    for name, values in outputs.items():
        arrays[f"{name}.values"] = np.concatenate([value.ravel() for value in values])
        arrays[f"{name}.shapes"] = np.array([value.shape for value in values], np.int64)
    np.savez(folder / "outputs.npz", allow_pickle=False, **arrays)


def read_outputs(folder: Path) -> Outputs:
    """Read what `write_outputs` wrote."""
    with np.load(folder / "outputs.npz", allow_pickle=False) as arrays:
        names = [name.removesuffix(".shapes") for name in arrays.files if name.endswith(".shapes")]
        found = {}
        for name in names:
            shapes = arrays[f"{name}.shapes"]
            ends = np.cumsum(shapes.prod(axis=1))
            parts = np.split(arrays[f"{name}.values"], ends[:-1])
            found[name] = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return found


def sensitivity_stage(
    recipe: Recipe,
    checkpoint: Checkpoint,
    quantized: Quantized | None,
    table: CalibrationTable | None,
    stages: Stages,
    progress: Progress,
) -> Mapping[Site, float]:
    """Measure each site's share of the error on calibration text; nothing without such text."""
    if quantized is None or table is None or recipe.calibration.data is None:
        return {}
    encoded = calibration_from_recipe(recipe, checkpoint)

    def write(errors: Mapping[Site, float], folder: Path) -> None:
        write_text(folder / "sensitivity.json", json.dumps([[s.layer, s.role, e] for s, e in errors.items()]))

    def read(folder: Path) -> Mapping[Site, float]:
        from bertc.graph.sites import Role

        return {
            Site(layer, Role(role)): error
            for layer, role, error in json.loads((folder / "sensitivity.json").read_text(encoding="utf-8"))
        }

    return stages.kept(
        "sensitivity",
        {
            "table": text_from_table(table),
            "quantization": recipe.quantization.model_dump(mode="json"),
            "calibration": recipe.calibration.model_dump(mode="json"),
            "target": recipe.engine.target,
            "rows": [row.hash for row in encoded.rows],
            "versions": library_versions(),
        },
        compute=lambda: sensitivity_from_graph(quantized, table, encoded.features, progress=progress),
        write=write,
        read=read,
    )


def latency_stage(
    recipe: Recipe,
    checkpoint: Checkpoint,
    target: Target,
    float_model: Path,
    model: Path,
    stages: Stages,
    progress: Progress,
) -> tuple[Latency, ...]:
    """Time the engine beside the float reference, interleaved."""
    with stages.timed("latency"):
        progress.stage("latency")
        architecture: Architecture = architecture_from_checkpoint(checkpoint)
        engines = {
            "float": target_from_name("float").engine_from_onnx(float_model, threads=recipe.engine.threads),
            "engine": target.engine_from_onnx(model, threads=recipe.engine.threads),
        }
        try:
            return measure_latency(
                engines,
                OUTPUTS[checkpoint.head.task],
                vocabulary=architecture.vocabulary,
                positions=architecture.positions,
            )
        finally:
            for engine in engines.values():
                engine.close()
