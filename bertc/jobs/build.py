"""The compiler from end to end. Reading `build_into` is reading the table of contents.

checkpoint -> graph -> calibrate -> quantize -> export -> engine -> evaluate -> verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.layout import ROWS_FILE
from bertc.artefact.space import BUILD_BYTES, check_space
from bertc.artefact.swap import artefact_folder, scratch_beside
from bertc.artefact.write import write_artefact
from bertc.cache.stages import Work
from bertc.calibrate.shards import ready_to_observe
from bertc.checkpoint import Checkpoint
from bertc.core.outputs import output_names
from bertc.core.versions import library_versions
from bertc.evaluate.gates import Verdict, judge_comparison
from bertc.evaluate.scores import Comparison
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.sites import Site
from bertc.jobs.evaluation import Run, compare_models
from bertc.jobs.exit_threshold import (
    check_exits,
    checkpoint_for_recipe,
    checkpoint_with_threshold,
    chosen_threshold,
    exit_part,
    exit_texts_from_recipe,
    plain_checkpoint,
)
from bertc.jobs.float_reference import reference_from_path
from bertc.jobs.inputs import (
    Inputs,
    checkpoint_from_recipe,
    held_out_from_recipe,
    inputs_from_recipe,
    length_of_inputs,
    proof_from_recipe,
    table_from_inputs,
)
from bertc.jobs.plan import Plan, check_architecture, checked_target, plan_from_recipe
from bertc.jobs.search_recipe import recipe_of_scheme, schemes_to_search
from bertc.prune.layers import Pruned
from bertc.prune.stage import VerifiedSparsity, pruned_graph, verify_sparsity
from bertc.quantize.correction import Correction
from bertc.quantize.correction_stage import chosen_correction
from bertc.quantize.lowered import Lowered, lowered_graph
from bertc.quantize.quantization import Quantization
from bertc.quantize.sensitivity_stage import SENSITIVITY
from bertc.recipe import Recipe
from bertc.report.choice import CandidatePart, ExitPart
from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from bertc.report.schema import Report
from bertc.runtime.latency import Latency, measure_latency
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.optimized import Optimized, check_fusion
from bertc.search.run import SearchProblem, SearchResult, search_scheme
from bertc.targets import TargetModel, target_from_name
from bertc.tasks import outputs_from_head

Candidates = tuple[CandidatePart, ...]
"""What a recipe was chosen from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build gives: the report, and the verdict unless it was unvalidated."""

    report: Report
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every engine of a build has in common: the inputs, the graph (pruned or not), and the float reference."""

    inputs: Inputs
    graph: ir.Model
    pruned: Pruned | None
    reference: TargetModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A target's model: as a graph, and as the files that open."""

    lowered: Lowered
    files: TargetModel


def build(recipe: Recipe, out: Path, *, work: Work, command: str) -> Built:
    """Compile a checkpoint into the folder `out`.

    Raises `InputError` and `EnvironmentLackError` before anything slow where that can be known; the verdict of the
    gates is a result, not an error.
    """
    checked_target(recipe.engine.target, recipe.engine.attention)  # before a folder is made
    with artefact_folder(out, progress=work.progress) as folder:
        return build_into(folder, recipe, work=work, command=command)


def build_into(
    folder: Path, recipe: Recipe, *, work: Work, command: str, candidates: Candidates = (), shared: Path | None = None
) -> Built:
    """Compile for a target that runs here, into a working folder, of `candidates`; `shared` is what engines share."""
    created = datetime.now(UTC)
    with scratch_beside(folder) as scratch:
        inputs, plan = read_inputs(recipe, work=work)
        base = prepare_base(inputs, scratch, work=work)
        quantization = quantization_from_plan(plan, base, work=work)
        search = search_for_scheme(recipe, plan, base, quantization, scratch, work=work)
        if search is not None and quantization is not None:
            quantization = replace(quantization, scheme=search.scheme)
            recipe = recipe_of_scheme(recipe, search.scheme, layers=search.layers)
        correction = choose_correction(plan, base, quantization, work=work)
        exits = None
        if recipe.early_exit.wanted:
            lowered = lowered_graph(base.graph, plan.target, quantization, correction, options=plan.options)
            plan, exits = let_leave(recipe, plan, inputs, lowered.graph, scratch, work=work)
        model = write_model(plan, base, quantization, correction, folder, work=work)
        optimized = check_model_fusion(plan, base, quantization, model, work=work)
        comparison = evaluate_model(plan, base, model, work=work)
        verdict = judge_engine(inputs, comparison)
        sensitivity = sensitivity_of_sites(inputs, quantization, model, work=work)
        latency = time_beside_float(plan, base, model, work=work)
        facts = BuildFacts(
            recipe=recipe,
            command=command,
            created=created,
            checkpoint=checkpoint_with_threshold(inputs.checkpoint, plan.options.exit_threshold),
            reference=inputs.reference,
            max_length=inputs.max_length,
            row_length=plan.row_length,
            target=plan.target,
            quantization=quantization,
            quantized=model.lowered.quantized,
            correction=correction,
            stored=model.lowered.stored,
            sparsity=verify_lowered(base.pruned, model.lowered),
            optimized=optimized,
            engine_bytes={path.name: path.stat().st_size for path in model.files.paths},
            companion_bytes={path.name: path.stat().st_size for path in model.files.companions},
            reference_bytes=base.reference.path.stat().st_size,
            calibration=inputs.calibration,
            validation=None if inputs.proof is None else inputs.proof.texts,
            comparison=comparison,
            verdict=verdict,
            sensitivity=sensitivity,
            latency=latency,
            search=search,
            early_exit=exits,
            candidates=candidates,
            stages=tuple(work.times),
            cpu=cpu_features(),
            versions=library_versions(plan.target.runtime.library),
        )
        report = report_from_facts(facts, rows=ROWS_FILE)
        write_artefact(folder, facts, report, shared=shared)
    return Built(report=report, verdict=verdict)


def read_inputs(
    recipe: Recipe, *, work: Work, shared: bool = False, checkpoint: Checkpoint | None = None
) -> tuple[Inputs, Plan]:
    """Read all that a recipe names, refusing at once what cannot be, in the order of what is refused soonest.

    `shared`: the inputs are for several targets, and a model that one of them cannot run is refused by that alone.
    `checkpoint` stands for the recipe's where that is not written yet.
    """
    with work.timed("read"):
        checkpoint = checkpoint_for_recipe(recipe, checkpoint or checkpoint_from_recipe(recipe))
        longest = length_of_inputs(checkpoint, recipe.engine.max_length)
        plan = plan_from_recipe(recipe, checkpoint, longest=longest)  # refuses before any text is read
        check_exits(plan, recipe)
        if not shared:
            check_architecture(plan, checkpoint)
        work.workers.start(ready_to_observe)
        proof = proof_from_recipe(recipe.validation, checkpoint, longest)
        source = inputs_from_recipe(recipe, checkpoint, plan.scheme, max_length=longest)
        texts = None if proof is None else proof.texts
        inputs = replace(
            source,
            reference=reference_from_path(recipe.validation.reference, checkpoint, texts, max_length=longest),
            proof=proof,
            held_out=held_out_from_recipe(recipe, source, proof),
        )
        inputs = replace(inputs, exit_texts=exit_texts_from_recipe(recipe, inputs))
    return inputs, plan_from_recipe(recipe, checkpoint, inputs.lengths, longest=longest)


def prepare_base(inputs: Inputs, scratch: Path, *, work: Work) -> Base:
    """Write the float reference, which is not shipped, and prune: the reference stays the checkpoint as it is."""
    check_space(scratch, BUILD_BYTES * inputs.checkpoint.parameters, "the build")
    with work.timed("reference"):
        graph = graph_from_checkpoint(inputs.checkpoint)
        compared = graph_from_checkpoint(plain_checkpoint(inputs.reference or inputs.checkpoint))
        target = target_from_name("float")
        reference = target.written_model(target.onnx_from_graph(compared), scratch)
    pruned = pruned_graph(graph, inputs.sparsity, inputs.calibration, work=work)
    return Base(
        inputs=inputs,
        graph=graph if pruned is None else pruned.graph,
        pruned=pruned,
        reference=reference,
    )


def quantization_from_plan(plan: Plan, base: Base, *, work: Work) -> Quantization | None:
    """Take the table that was given, or calibrate; None for a target without static INT8."""
    if plan.scheme is None:
        return None
    return Quantization(
        scheme=plan.scheme, table=table_from_inputs(base.inputs, base.graph, work=work), method=plan.method
    )


def choose_correction(plan: Plan, base: Base, quantization: Quantization | None, *, work: Work) -> Correction:
    """Decide how the weights are rounded."""
    inputs = base.inputs
    outputs = outputs_from_head(inputs.checkpoint.head)
    return chosen_correction(base.graph, quantization, inputs.calibration, plan.correction, outputs, work=work)


def search_for_scheme(
    recipe: Recipe, plan: Plan, base: Base, quantization: Quantization | None, scratch: Path, *, work: Work
) -> SearchResult | None:
    """Find the scheme, where the recipe asks for a search."""
    inputs = base.inputs
    if inputs.held_out is None or inputs.calibration is None or quantization is None:
        return None
    problem = SearchProblem(
        checkpoint=inputs.checkpoint,
        graph=base.graph,
        target=plan.target,
        options=plan.options,
        quantization=quantization,
        starts=schemes_to_search(recipe, plan, quantization, layers=inputs.checkpoint.architecture.layers),
        calibration=inputs.calibration,
        held=inputs.held_out,
        reference=base.reference,
        scratch=scratch,
        trials=recipe.search.trials,
        workers=recipe.search.workers,
        threads=plan.threads,
    )
    with work.timed("search"):
        return search_scheme(problem, work=work)


def let_leave(
    recipe: Recipe, plan: Plan, inputs: Inputs, lowered: ir.Model, scratch: Path, *, work: Work
) -> tuple[Plan, ExitPart | None]:
    """Choose the threshold of early exit for a target's graph, and measure what it brings."""
    with work.timed("early exit"):
        threshold = chosen_threshold(recipe, plan, inputs, lowered, scratch)
        part = exit_part(plan, inputs, lowered, threshold, scratch)
    if part is None:  # then no report says it
        work.progress.note(f"early exit: below {threshold:g} texts leave; what that brings was not measured")
    return replace(plan, options=replace(plan.options, exit_threshold=threshold)), part


def write_model(
    plan: Plan, base: Base, quantization: Quantization | None, correction: Correction, folder: Path, *, work: Work
) -> Model:
    """Quantize, lower, and write the files of the target's model."""
    with work.timed("quantize and export"):
        lowered = lowered_graph(base.graph, plan.target, quantization, correction, options=plan.options)
        cache = work.cache.directory
        files = plan.target.written_model(lowered.graph, folder, progress=work.progress, cache=cache)
    return Model(lowered=lowered, files=files)


def check_model_fusion(
    plan: Plan, base: Base, quantization: Quantization | None, model: Model, *, work: Work
) -> Optimized:
    """Read what the runtime made of the model, and refuse an engine that is not fused as its layers imply."""
    with work.timed("engine"):
        optimized = model.files.optimized()
        quantized = model.lowered.quantized
        if quantized is not None and quantization is not None:
            expected = plan.target.implied_fusion(quantization.scheme, base.inputs.checkpoint.architecture)
            check_fusion(optimized, expected=expected, gemms_int8=quantized.counts.get("weights", 0))
    return optimized


def evaluate_model(plan: Plan, base: Base, model: Model, *, work: Work) -> Comparison | None:
    """Compare the engine with the float reference on all the validation data; None without."""
    proof = base.inputs.proof
    if proof is None:
        return None
    engine = Run(model=model.files, threads=plan.threads, row_length=plan.row_length)
    reference = Run(model=base.reference, threads=plan.threads)
    return compare_models(reference, engine, proof, work=work)


def judge_engine(inputs: Inputs, comparison: Comparison | None) -> Verdict | None:
    """Ask the gates; None without validation data."""
    proof = inputs.proof
    if comparison is None or proof is None:
        return None
    return judge_comparison(comparison, proof.gates, decide=proof.decide, any_reference=proof.any_reference)


def sensitivity_of_sites(
    inputs: Inputs, quantization: Quantization | None, model: Model, *, work: Work
) -> Mapping[Site, float]:
    """Measure each site's share of the error on some text."""
    quantized, texts = model.lowered.quantized, inputs.texts
    if quantized is None or quantization is None or texts is None:
        return {}
    outputs = outputs_from_head(inputs.checkpoint.head)
    return work.kept(SENSITIVITY, quantized, quantization.table, texts, outputs)


def time_beside_float(plan: Plan, base: Base, model: Model, *, work: Work) -> tuple[Latency, ...]:
    """Time the engine beside the float reference, interleaved; not where other builds take cores meanwhile."""
    if not work.alone:
        return ()
    checkpoint = base.inputs.checkpoint
    with work.timed("latency"), ExitStack() as stack:
        both = {"float": base.reference, "engine": model.files}
        return measure_latency(
            {name: stack.enter_context(found.opened(threads=plan.threads)) for name, found in both.items()},
            output_names(outputs_from_head(plain_checkpoint(checkpoint).head)),
            vocabulary=checkpoint.architecture.vocabulary,
            positions=checkpoint.architecture.positions,
        )


def verify_lowered(pruned: Pruned | None, lowered: Lowered) -> VerifiedSparsity | None:
    """Check that what was pruned is 2:4 as codes and in the model."""
    quantized = None if lowered.quantized is None else lowered.quantized.graph
    return verify_sparsity(pruned, quantized, lowered.graph)
