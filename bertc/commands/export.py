"""Write a model file for a target, or for Triton Inference Server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.cli import options
from bertc.cli.cache import cache_from_options
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.precision import check_precision
from bertc.cli.progress import shown_progress
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.artefact.stages import Work
    from bertc.quantize.lowered import Lowered
    from bertc.recipe import Recipe

MANIFEST = "manifest.json"


@click.command("export", cls=Command)
@options.checkpoint_argument
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write, or a folder for model.onnx. Default: model.onnx.",
)
@option(
    "--triton-repository",
    "repository",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a model of Triton Inference Server into this repository instead (docs/triton.md).",
)
@options.model_options
@options.calibration_options
@options.table_option
@options.calibrator_options
@options.per_site_option
@options.quantization_options
@options.correction_options
@options.target_option
@options.attention_option
@options.length_option
@options.cache_options
def command(
    output: Output,
    checkpoint: str | None,
    out: Path | None,
    repository: Path | None,
    recipe: str | None,
    cache_dir: Path | None,
    no_cache: bool,
    **flags: Any,
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
    if repository is not None and checkpoint is not None and (Path(checkpoint) / MANIFEST).is_file():
        return _serve_artefact(output, Path(checkpoint), repository, recipe, flags)
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    check_precision(wanted, flags)
    from bertc.artefact.stages import Work

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        if repository is not None:
            from bertc.serving import serve_checkpoint

            path, found = serve_checkpoint(wanted, repository, work=Work(cache, progress))
        else:
            path, found = _export(wanted, out or Path("model.onnx"), Work(cache, progress))
    counts = None if found.quantized is None else dict(found.quantized.counts)
    _print(output, path, wanted.engine.target, {"counts": counts, "unvalidated": True})
    return EXIT_PASSED


def _export(recipe: Recipe, out: Path, work: Work) -> tuple[Path, Lowered]:
    import onnx_ir as ir

    from bertc.cli.files import finished_file
    from bertc.partial import export

    path = out / "model.onnx" if out.is_dir() else out
    found = export(recipe, work=work)
    with finished_file(path) as file:
        ir.save(found.graph, file)
    return path, found


def _serve_artefact(
    output: Output, artefact: Path, repository: Path, recipe: str | None, flags: Mapping[str, Any]
) -> int:
    from bertc.serving import serve_artefact

    if recipe is not None or options.overrides_from_flags(flags):
        raise click.UsageError(f"{artefact} is an artefact, which is served as it was built; leave the other flags out")
    path, manifest = serve_artefact(artefact, repository)
    _print(output, path, manifest.target, {"unvalidated": manifest.unvalidated})
    return EXIT_PASSED


def _print(output: Output, path: Path, target: str, facts: Mapping[str, Any]) -> None:
    from bertc.targets import target_from_name

    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    if output.json:
        output.print_json({"model": str(path), "bytes": size, **facts})
    output.say(f"{path}: {size / 1e6:.1f} MB for {target}")
    note = target_from_name(target).note
    if note:
        output.note(note)
    if facts["unvalidated"]:
        output.note("unvalidated: nothing proves the accuracy of this model; bertc build does")
