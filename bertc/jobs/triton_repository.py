"""A model for Triton Inference Server, of an artefact or straight from a checkpoint.

The artefact's files are copied as they were validated; a checkpoint is lowered as `bertc export` lowers it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.layout import MANIFEST_FILE
from bertc.artefact.manifest import Manifest, read_manifest, verify_artefact
from bertc.artefact.triton_server import (
    ARTEFACT_FOLDER,
    CONFIG,
    MOST_TEXTS,
    PYTHON_FILE,
    PYTHON_MODEL,
    Service,
    config_from_model,
    finished_model,
    name_from_path,
    python_config,
)
from bertc.cache.stages import Work
from bertc.checkpoint.hub import folder_that_is_there
from bertc.errors import InputError
from bertc.jobs.engine_choice import ANY, EngineWish, chosen_engine
from bertc.jobs.export import export
from bertc.jobs.inspect import report_of_artefact
from bertc.jobs.plan import checked_target
from bertc.jobs.predict import output_sizes, predictor_from_path
from bertc.quantize.lowered import Lowered
from bertc.recipe import Recipe
from bertc.runtime.served import PYTHON, Served
from bertc.runtime.tensorrt.profiles import PROFILES_KEY, profiles_from_text
from bertc.targets import target_from_name

ONNX_FILE = "model.onnx"
"""Every artefact that a backend of Triton opens has it; it says which inputs and outputs there are."""


def served_by(name: str, backend: str | None) -> Served:
    """Return how a target is served: by the backend that is named, or by its own.

    Raises `InputError` for one that does not open the target's files.
    """
    own = target_from_name(name).served
    if backend in (None, own.backend):
        return own
    if backend == PYTHON.backend:
        return PYTHON
    raise InputError(
        f"Triton's backend {backend} does not open an engine for {name}; leave --triton-backend out ({own.backend})"
    )


def serve_artefact(
    artefact: Path, repository: Path, backend: str | None = None, wish: EngineWish = ANY
) -> tuple[Path, Manifest]:
    """Copy an artefact into a model repository; returns the model's folder and the manifest of the engine.

    For the Python backend the whole artefact is copied, and opened first: that shows what it gives out. Else the
    engine's file is enough. Of several engines it is the one of the wish; where that leaves it open, the server that
    has all of them chooses again. Raises `InputError`, also for one that failed its gates unless the wish allows it,
    and `EnvironmentLackError`.
    """
    chosen = chosen_engine(artefact, wish)
    whole = verify_artefact(chosen.shared)
    alone = chosen.shared == chosen.folder
    manifest = whole if alone else read_manifest(chosen.folder)
    if not (wish.allow_failed or manifest.unvalidated or report_of_artefact(chosen.folder).passed):
        raise InputError(
            f"{chosen.folder} did not pass its gates; build it until it passes, or take it with --allow-failed"
        )
    served = served_by(manifest.target, backend)
    name = name_from_path(str(artefact))
    with finished_model(repository, name) as folder:
        if served is PYTHON:
            left_open = alone or (wish == ANY and chosen.shared == artefact)
            _write_python_model(folder, chosen.shared, whole, name, engine="" if left_open else manifest.target)
        else:
            shutil.copyfile(chosen.folder / served.file, folder / served.file)
            _write_config(folder, ir.load(chosen.folder / ONNX_FILE), name, served)
    return repository / name, manifest


def _write_python_model(folder: Path, artefact: Path, manifest: Manifest, name: str, *, engine: str) -> None:
    with predictor_from_path(artefact, wish=EngineWish(target=engine or None)) as predictor:  # errors name the user's
        sizes = output_sizes(predictor)
    copy = folder / ARTEFACT_FOLDER
    for each in (*manifest.files, MANIFEST_FILE):
        (copy / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artefact / each, copy / each)
    verify_artefact(copy)
    (folder / PYTHON_FILE).write_text(PYTHON_MODEL, encoding="utf-8")
    (folder.parent / CONFIG).write_text(python_config(name, sizes, engine=engine), encoding="utf-8")


def serve_checkpoint(
    recipe: Recipe, repository: Path, backend: str | None = None, *, work: Work
) -> tuple[Path, Lowered]:
    """Lower a checkpoint into a model repository, unvalidated; returns the model's folder and what was lowered.

    Raises before anything slow: `InputError` for the Python backend, which opens artefacts, and `EnvironmentLackError`
    where the file has to be compiled on a device that is not here.
    """
    target = target_from_name(recipe.engine.target)
    served = served_by(target.name, backend)
    folder_that_is_there(recipe.checkpoint)
    if served is PYTHON:
        raise InputError(
            f"Triton's Python backend opens an artefact, and {recipe.checkpoint} is a checkpoint; build it with "
            "bertc build and export the artefact, or choose a target on ONNX Runtime (--target ort-cpu)"
        )
    if served.compiled:
        checked_target(recipe.engine.target, recipe.engine.attention)
    name = name_from_path(str(recipe.checkpoint))
    with finished_model(repository, name) as folder:
        lowered = export(recipe, work=work)
        target.runtime.write_model(lowered.graph, folder, progress=work.progress)
        for other in set(target.runtime.model_files) - {served.file}:
            (folder / other).unlink()
        _write_config(folder, lowered.graph, name, served)
    return repository / name, lowered


def _write_config(folder: Path, model: ir.Model, name: str, served: Served) -> None:
    profiles = profiles_from_text(model.metadata_props.get(PROFILES_KEY, "[]"))
    service = Service(
        name=name,
        backend=served.backend,
        file=served.file,
        gpu=served.gpu,
        most_texts=min((MOST_TEXTS, *(profile.batch[-1] for profile in profiles))),
        profiles=len(profiles),
    )
    (folder.parent / CONFIG).write_text(config_from_model(model, service), encoding="utf-8")
