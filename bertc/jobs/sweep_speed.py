"""How fast the engines of a sweep are: all of one float model in turn with it, when nothing is built any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from bertc.checkpoint import checkpoint_from_path
from bertc.core.outputs import output_names
from bertc.core.progress import Progress
from bertc.errors import BertcError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.engine_choice import chosen_engine
from bertc.jobs.exit_threshold import plain_checkpoint
from bertc.jobs.predict import opened_artefact
from bertc.recipe import Recipe
from bertc.report.schema import LatencyPart
from bertc.runtime.latency import measure_latency
from bertc.targets import target_from_name
from bertc.tasks import outputs_from_head

Measured = Mapping[str, tuple[LatencyPart, ...]]
_FLOAT = "float/"  # no build has this name: that of a scheme is not empty


def float_model_of(recipe: Recipe) -> tuple[str, str, int]:
    """Return what a build is compared with: the checkpoint in float, its task, and the threads that run it."""
    return recipe.validation.reference or recipe.checkpoint, recipe.task or "", recipe.engine.threads


def speeds_of_engines(
    engines: Mapping[str, tuple[Path, Recipe]], stale: Sequence[str], scratch: Path, *, progress: Progress
) -> Iterator[Measured]:
    """Time artefacts beside their float models, as one group those of one model; give each group's times by name.

    Groups without a `stale` one are left alone. One that cannot be timed is noted with the reason.
    """
    order = sorted(engines, key=lambda name: float_model_of(engines[name][1]))
    groups = [list(names) for _, names in groupby(order, key=lambda name: float_model_of(engines[name][1]))]
    wanted = [names for names in groups if not set(names).isdisjoint(stale)]
    progress.stage("speed", total=len(wanted))
    for names in wanted:
        try:
            yield _timed({name: engines[name][0] for name in names}, engines[names[0]][1], scratch)
        except BertcError as error:
            progress.note(f"{', '.join(names)}: not timed: {error}")
        progress.advance()


def _timed(folders: Mapping[str, Path], recipe: Recipe, scratch: Path) -> Measured:
    """Time artefacts of one float model, interleaved with it."""
    path, task, threads = float_model_of(recipe)
    checkpoint = plain_checkpoint(checkpoint_from_path(path, task=task or None))
    target = target_from_name("float")
    model = target.written_model(target.onnx_from_graph(graph_from_checkpoint(checkpoint)), scratch)
    with ExitStack() as stack:
        engines = {_FLOAT: stack.enter_context(model.opened(threads=threads))}
        for name, folder in folders.items():
            _, engine = opened_artefact(chosen_engine(folder), threads=threads)
            stack.callback(engine.close)
            engines[name] = engine
        measured = measure_latency(
            engines,
            output_names(outputs_from_head(checkpoint.head)),
            vocabulary=checkpoint.architecture.vocabulary,
            positions=checkpoint.architecture.positions,
        )
    return {
        name: tuple(
            LatencyPart(
                batch=row.batch,
                length=row.length,
                milliseconds=row.milliseconds[name],
                reference_milliseconds=row.milliseconds[_FLOAT],
            )
            for row in measured
        )
        for name in folders
    }
