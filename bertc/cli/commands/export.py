"""Write a model file for a target, or for Triton Inference Server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.artefact.kinds import MODEL, PRUNED, REPOSITORY, TRAINED
from bertc.cli.command import Command, force_option, option
from bertc.cli.engine_option import engine_option, told_choice
from bertc.cli.int8_request import check_precision, check_single_target
from bertc.cli.options import overrides_from_flags
from bertc.cli.output import Output
from bertc.cli.paths import Writes
from bertc.cli.request import Request, out_option, recipe_command
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.cache.stages import Work
    from bertc.quantize.lowered import Lowered
    from bertc.recipe import Recipe

DEFAULT_FILE = Path("model.onnx")


def file_to_write(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return the file that -o means: in a folder model.onnx, and so without -o where no repository is named."""
    if value is None:
        return None if context.params.get("repository") else DEFAULT_FILE
    return value / DEFAULT_FILE if value.is_dir() else value


@click.command("export", cls=Command)
@out_option(
    MODEL, "FILE", "The file to write, or a folder for model.onnx. Default: model.onnx.", callback=file_to_write
)
@force_option(MODEL)
@option(
    "--triton-repository",
    "repository",
    type=Writes(REPOSITORY),
    is_eager=True,
    metavar="DIR",
    help="Write a model of Triton Inference Server into this repository instead (docs/triton.md).",
)
@option(
    "--triton-backend",
    "backend",
    type=click.Choice(["onnxruntime", "tensorrt", "python"]),
    help="What of the server runs the model. python takes texts, too. Default: the target's own (docs/triton.md).",
)
@engine_option()
@recipe_command("task", "calibration", "quantization", "engine.target", "engine.attention", "engine.max_length")
def command(
    output: Output,
    request: Request,
    out: Path | None,
    repository: Path | None,
    backend: str | None,
    engine: str | None,
    allow_failed: bool,
    force: bool,
) -> int:
    """Write the ONNX file of CHECKPOINT for a target. Nothing proves its accuracy: that is what bertc build is for.

    \b
      bertc export CHECKPOINT --calibration calibration.json -o model.onnx
      bertc export CHECKPOINT --target float -o float.onnx
      bertc export OUT --triton-repository models

    With --triton-repository, CHECKPOINT may be the folder of an artefact, whose engine is taken as it was validated.
    """
    if repository is not None and out is not None:
        raise click.UsageError("--triton-repository and -o exclude each other")
    if repository is None and backend is not None:
        raise click.UsageError("--triton-backend says how --triton-repository is written; give both")
    if repository is not None and request.checkpoint is not None and _is_artefact(Path(request.checkpoint)):
        return _serve_artefact(
            output, request, Path(request.checkpoint), repository, backend, engine=engine, allow_failed=allow_failed
        )
    if engine is not None or allow_failed:
        raise click.UsageError("--engine and --allow-failed are for an artefact and --triton-repository")
    recipe = request.recipe()
    check_single_target(recipe)
    check_precision(recipe, request.flags)
    with request.work() as work:
        if repository is not None:
            from bertc.jobs.triton_repository import serve_checkpoint

            path, lowered = serve_checkpoint(recipe, repository, backend, work=work)
        else:
            assert out is not None
            path, lowered = out, _export(recipe, out, work, force=force)
    counts = None if lowered.quantized is None else dict(lowered.quantized.counts)
    _print(output, path, recipe.engine.target, {"counts": counts, "unvalidated": True})
    return EXIT_PASSED


def _is_artefact(path: Path) -> bool:
    from bertc.artefact.layout import MANIFEST_FILE

    written = PRUNED.recognises(path) or TRAINED.recognises(path)  # a checkpoint with a manifest
    return (path / MANIFEST_FILE).is_file() and not written


def _export(recipe: Recipe, out: Path, work: Work, *, force: bool) -> Lowered:
    import onnx_ir as ir

    from bertc.cli.result_files import finished_file
    from bertc.jobs.export import export

    lowered = export(recipe, work=work)
    with finished_file(out, MODEL, force=force) as unfinished:
        ir.save(lowered.graph, unfinished)
    return lowered


def _serve_artefact(
    output: Output,
    request: Request,
    artefact: Path,
    repository: Path,
    backend: str | None,
    *,
    engine: str | None,
    allow_failed: bool,
) -> int:
    from bertc.jobs.engine_choice import EngineWish
    from bertc.jobs.triton_repository import serve_artefact

    if request.file is not None or overrides_from_flags(request.flags):
        raise click.UsageError(f"{artefact} is an artefact, which is served as it was built; leave the other flags out")
    told_choice(output, artefact, engine, allow_failed=allow_failed)
    wish = EngineWish(target=engine, allow_failed=allow_failed)
    path, manifest = serve_artefact(artefact, repository, backend, wish)
    _print(output, path, manifest.target, {"unvalidated": manifest.unvalidated})
    return EXIT_PASSED


def _print(output: Output, path: Path, target: str, facts: Mapping[str, Any]) -> None:
    from bertc.targets import target_from_name

    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    output.tell({"model": str(path), "bytes": size, **facts}, f"{path}: {size / 1e6:.1f} MB for {target}")
    note = target_from_name(target).note
    if note:
        output.note(note)
    if facts["unvalidated"]:
        output.note("unvalidated: nothing proves the accuracy of this model; bertc build does")
