"""The compiler from end to end. Reading `build` is reading the table of contents.

checkpoint -> graph -> calibrate -> quantize -> export -> engine -> evaluate -> verdict
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.artefact.swap import artefact_folder, scratch_beside
from bertc.calibrate.table import CalibrationTable
from bertc.calibration import calibrated_table
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.corrections import correction_from_recipe
from bertc.evaluate.gate import Gate, Verdict, judge
from bertc.evaluate.report import CandidatePart, Report
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.export.embeddings import StoredEmbeddings
from bertc.features import Progress
from bertc.graph.build import architecture_from_checkpoint, graph_from_checkpoint
from bertc.graph.options import EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Site
from bertc.inputs import (
    Encoded,
    calibration_from_recipe,
    checked_target,
    gates_from_recipe,
    given_table,
    layers_of,
    length_from_recipe,
    options_from_recipe,
    row_length_from_recipe,
    scheme_from_recipe,
    validation_from_recipe,
)
from bertc.lowering import export_model
from bertc.manifest import digest_of_file
from bertc.outputs import output_names
from bertc.own_ranges import own_table
from bertc.pruning import check_sparsity, needs_text, pruned_from_recipe, verify_sparsity
from bertc.quantize.correction import Correction
from bertc.quantize.insert import Quantized
from bertc.recipe import Recipe
from bertc.reference import reference_from_recipe
from bertc.report_parts import BuildFacts, report_from_facts
from bertc.runtime.cpu import cpu_features
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.latency import Latency, measure_latency
from bertc.runtime.optimized import Optimized, check_fusion
from bertc.runtime.outputs import Outputs, read_outputs, write_outputs
from bertc.search.held import held_out_from_recipe
from bertc.search.run import Found, Question, search_scheme
from bertc.sensitivity import sensitivity_of_sites
from bertc.targets import Target, model_files, target_from_name
from bertc.tasks import outputs_from_head, task_from_name
from bertc.versions import library_versions
from bertc.write_artefact import write_artefact


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build gives: the report, and the verdict unless it was unvalidated."""

    report: Report
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A target's model as a graph and as the file to open, and what was quantized in it."""

    graph: ir.Model
    model: Path
    quantized: Quantized | None
    stored: StoredEmbeddings | None


def build(recipe: Recipe, out: Path, *, progress: Progress, cache: StageCache, command: str) -> Built:
    """Compile a checkpoint into the folder `out`.

    Raises `InputError` and `EnvironmentLackError` before anything slow where that can be known; the verdict of the
    gates is a result, not an error.
    """
    checked_target(recipe.engine.target, recipe.engine.attention)  # before a folder is made
    with artefact_folder(out, progress=progress) as folder:
        return build_into(folder, recipe, progress=progress, cache=cache, command=command)


def build_into(
    folder: Path,
    recipe: Recipe,
    *,
    progress: Progress,
    cache: StageCache,
    command: str,
    candidates: tuple[CandidatePart, ...] = (),
) -> Built:
    """Compile for a target that runs here, into a working folder; `candidates` are what the recipe was chosen from."""
    created = datetime.now(UTC)
    target = target_from_name(recipe.engine.target)
    with scratch_beside(folder) as scratch:
        run = Run(recipe, target, Stages(cache, progress), progress)
        float_model = run.float_model(scratch)
        run.prune()
        table = run.calibrate()
        found = run.search(float_model, table, scratch)
        correction = run.correct(table)
        lowered = run.export(table, correction, folder)
        optimized = run.check_fusion(lowered)
        comparison = run.evaluate(float_model, lowered.model)
        verdict = None
        if comparison is not None:
            verdict = judge(comparison.scores, run.gates, decide=recipe.validation.decide)
        sensitivity = run.sensitivity(lowered.quantized, table)
        latency = run.latency(float_model, lowered.model)
        facts = BuildFacts(
            recipe=run.recipe,
            command=command,
            created=created,
            checkpoint=run.checkpoint,
            architecture=architecture_from_checkpoint(run.checkpoint),
            max_length=length_from_recipe(recipe, run.checkpoint),
            row_length=run.row_length,
            target=target,
            scheme=run.scheme,
            table=table,
            quantized=lowered.quantized,
            correction=correction,
            stored=lowered.stored,
            sparsity=verify_sparsity(run.pruned, lowered.quantized, lowered.graph),
            optimized=optimized,
            engine_bytes={path.name: path.stat().st_size for path in model_files(target, lowered.model)},
            reference_bytes=float_model.stat().st_size,
            validation_rows=() if run.validation is None else run.validation.rows,
            validation_digest="" if run.validation is None else run.validation.digest,
            comparison=comparison,
            verdict=verdict,
            sensitivity=sensitivity,
            latency=latency,
            search=found,
            candidates=candidates,
            stages=tuple(run.stages.times),
            cpu=cpu_features(),
            versions=library_versions(target.LIBRARY),
        )
        report = report_from_facts(facts)
        write_artefact(folder, facts, report)
    return Built(report=report, verdict=verdict)


class Run:
    """One build's stages; everything that can be refused at once is read and checked when it is made."""

    def __init__(self, recipe: Recipe, target: Target, stages: Stages, progress: Progress) -> None:
        self.recipe = recipe
        self.target = target
        self.stages = stages
        self.progress = progress
        with stages.timed("read"):
            progress.stage("read")
            self.checkpoint: Checkpoint = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
            self.scheme: Scheme | None = scheme_from_recipe(recipe, self.checkpoint, target)
            options_from_recipe(recipe, self.checkpoint, target, self.scheme)  # refuses before any text is read
            self.validation: Encoded | None = validation_from_recipe(recipe, self.checkpoint)
            self.gates: Sequence[Gate] = gates_from_recipe(recipe, self.checkpoint.head, self.validation)
            self.own_table = own_table(recipe, self.checkpoint, self.scheme)
            check_sparsity(recipe, self.checkpoint, self.own_table)
            self.calibration = self._calibration()
            self.held_out = held_out_from_recipe(recipe, self.checkpoint, self.calibration, self.validation)
            texts = self.calibration or self.validation
            self.row_length = row_length_from_recipe(recipe, self.checkpoint, target, texts)
            self.options = self._options()
            self.graph = graph_from_checkpoint(self.checkpoint)
            reference = reference_from_recipe(recipe, self.checkpoint, self.validation)
            self.reference_graph = self.graph if reference is self.checkpoint else graph_from_checkpoint(reference)

    def of_recipe(self, recipe: Recipe, target: Target) -> Run:
        """Return a run on the same data for another target and scheme."""
        other = copy(self)
        other.recipe, other.target = recipe, target
        other.scheme = scheme_from_recipe(recipe, self.checkpoint, target)
        other.options = other._options()
        return other

    def _calibration(self) -> Encoded | None:
        """Read the calibration text where it is needed, or given beside a table (to tell which sites hurt)."""
        wanted = self.recipe.calibration
        unneeded = self.scheme is None or (wanted.data is None and (wanted.table or self.own_table))
        if unneeded and not needs_text(self.recipe):
            return None
        return calibration_from_recipe(self.recipe, self.checkpoint)

    def _options(self) -> EngineOptions:
        """Return how the engine is to be made, for the texts that were read."""
        texts = [encoded for encoded in (self.calibration, self.validation) if encoded is not None]
        features = [feature for encoded in texts for feature in encoded.features]
        return options_from_recipe(self.recipe, self.checkpoint, self.target, self.scheme, features)

    def float_model(self, scratch: Path) -> Path:
        """Write the float reference; it is not shipped."""
        target = target_from_name("float")
        with self.stages.timed("reference"):
            self.progress.stage("reference")
            return target.write_model(target.onnx_from_graph(self.reference_graph), scratch)

    def prune(self) -> None:
        """Make what follows read the pruned graph; the float reference stays the checkpoint as it is."""
        self.pruned = pruned_from_recipe(
            self.recipe, self.checkpoint, self.graph, self.calibration, stages=self.stages, progress=self.progress
        )
        if self.pruned is not None:
            self.graph = self.pruned.graph

    def calibrate(self) -> CalibrationTable | None:
        """Return the table: the user's, the checkpoint's, a cached or a new one; None where nothing is calibrated."""
        if self.scheme is None:
            return None
        if self.recipe.calibration.table is not None:
            return given_table(self.recipe.calibration.table, self.checkpoint)
        if self.own_table is not None:
            return self.own_table
        assert self.calibration is not None
        return calibrated_table(
            self.recipe, self.checkpoint, self.graph, self.calibration, stages=self.stages, progress=self.progress
        )

    def search(self, float_model: Path, table: CalibrationTable | None, scratch: Path) -> Found | None:
        """Find the scheme where the recipe asks for a search; from here on the build is that of the recipe found."""
        if self.held_out is None or self.calibration is None or table is None:
            return None

        def export(recipe: Recipe, scheme: Scheme) -> tuple[ir.Model, Quantized | None]:
            return export_model(recipe, self.target, self.graph, scheme, table, options=self.options)[:2]

        question = Question(
            recipe=self.recipe,
            checkpoint=self.checkpoint,
            table=table,
            calibration=self.calibration,
            held=self.held_out,
            export=export,
            float_model=float_model,
            scratch=scratch,
        )
        with self.stages.timed("search"):
            found = search_scheme(question, cache=self.stages.cache, progress=self.progress)
        self.recipe, self.scheme = found.recipe, found.scheme
        return found

    def correct(self, table: CalibrationTable | None) -> Correction:
        """Decide how the weights are rounded."""
        return correction_from_recipe(
            self.recipe,
            self.graph,
            self.scheme,
            table,
            self.calibration,
            outputs=outputs_from_head(self.checkpoint.head),
            stages=self.stages,
            progress=self.progress,
        )

    def export(self, table: CalibrationTable | None, correction: Correction, folder: Path) -> Lowered:
        """Write the files of the target's model."""
        with self.stages.timed("quantize and export"):
            self.progress.stage("quantize and export")
            lowered, quantized, stored = export_model(
                self.recipe, self.target, self.graph, self.scheme, table, correction, options=self.options
            )
            cache = self.stages.cache.directory
            model = self.target.write_model(lowered, folder, progress=self.progress, cache=cache)
        return Lowered(graph=lowered, model=model, quantized=quantized, stored=stored)

    def check_fusion(self, lowered: Lowered) -> Optimized:
        """Read what the runtime made of the model, and refuse an engine that is not fused as its layers imply."""
        with self.stages.timed("engine"):
            self.progress.stage("engine")
            found = self.target.optimized_from_path(lowered.model)
            if lowered.quantized is not None:
                check_fusion(
                    found,
                    expected=self.target.expected_fusion(self.scheme, layers_of(self.checkpoint)),
                    gemms_int8=lowered.quantized.counts.get("weights", 0),
                )
        return found

    def evaluate(self, float_model: Path, model: Path) -> Comparison | None:
        """Run float reference and engine over the whole validation set and compare them row by row."""
        validation = self.validation
        if validation is None:
            return None
        reference = self._outputs("evaluate float", target_from_name("float"), float_model, validation)
        engine = self._outputs("evaluate engine", self.target, model, validation, self.row_length)
        with self.stages.timed("compare"):
            self.progress.stage("compare")
            return compare_outputs(
                task_from_name(self.checkpoint.head.task),
                self.checkpoint.head,
                validation.rows,
                validation.features,
                reference,
                engine,
                extra=[gate.metric for gate in self.gates],
            )

    def _outputs(self, name: str, target: Target, model: Path, validation: Encoded, row: int | None = None) -> Outputs:
        """Run one engine over the validation features, or take its outputs from the cache."""

        def compute() -> Outputs:
            self.progress.stage(name, total=len(validation.features))
            engine = target.engine_from_path(model, threads=self.recipe.engine.threads)
            try:
                features, head = validation.features, self.checkpoint.head
                return outputs_from_features(engine, features, head, row_length=row, progress=self.progress)
            finally:
                engine.close()

        parts = {
            "model": [digest_of_file(path) for path in model_files(target, model)],
            "validation": validation.digest,
            "max_length": length_from_recipe(self.recipe, self.checkpoint),
            "row_length": row,
            "tokenizer": self.checkpoint.digest,
            "cpu": [cpu_features().model, sorted(cpu_features().features)],
            "threads": self.recipe.engine.threads,
            "versions": library_versions(target.LIBRARY),
        }
        return self.stages.kept(name.replace(" ", "-"), parts, compute=compute, write=write_outputs, read=read_outputs)

    def sensitivity(self, quantized: Quantized | None, table: CalibrationTable | None) -> Mapping[Site, float]:
        """Measure each site's share of the error, on calibration text or else on validation text."""
        encoded = self.calibration or self.validation
        if quantized is None or table is None or encoded is None:
            return {}
        return sensitivity_of_sites(
            self.recipe,
            self.checkpoint,
            quantized,
            table,
            encoded,
            attention=self.options.attention,
            stages=self.stages,
            progress=self.progress,
        )

    def latency(self, float_model: Path, model: Path) -> tuple[Latency, ...]:
        """Time the engine beside the float reference, interleaved."""
        threads = self.recipe.engine.threads
        architecture = architecture_from_checkpoint(self.checkpoint)
        with self.stages.timed("latency"):
            self.progress.stage("latency")
            engines = {
                "float": target_from_name("float").engine_from_path(float_model, threads=threads),
                "engine": self.target.engine_from_path(model, threads=threads),
            }
            try:
                return measure_latency(
                    engines,
                    output_names(outputs_from_head(self.checkpoint.head)),
                    vocabulary=architecture.vocabulary,
                    positions=architecture.positions,
                )
            finally:
                for engine in engines.values():
                    engine.close()
