"""A model for Triton Inference Server, of an artefact or straight from a checkpoint.

The artefact's files are copied as they were validated; a checkpoint is lowered as `bertc export` lowers it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.manifest import Manifest, verify_artefact
from bertc.artefact.triton_server import CONFIG, MOST_TEXTS, Service, config_from_model, finished_model, name_from_path
from bertc.cache.stages import Work
from bertc.errors import InputError
from bertc.jobs.export import export
from bertc.jobs.plan import checked_target
from bertc.quantize.lowered import Lowered
from bertc.recipe import Recipe
from bertc.runtime.served import Served
from bertc.runtime.tensorrt.profiles import PROFILES_KEY, profiles_from_text
from bertc.targets import Target, target_from_name

ONNX_FILE = "model.onnx"
"""Every artefact that can be served has it; it says which inputs and outputs there are."""


def check_served(name: str) -> Target:
    """Find a target. Raises `InputError` with the reason where Triton has no backend for it."""
    target = target_from_name(name)
    if target.served.refusal:
        raise InputError(f"the target {name} cannot be served: {target.served.refusal}")
    return target


def serve_artefact(artefact: Path, repository: Path) -> tuple[Path, Manifest]:
    """Copy an artefact's engine into a model repository; returns the model's folder and the artefact's manifest."""
    manifest = verify_artefact(artefact)
    served = check_served(manifest.target).served
    name = name_from_path(str(artefact))
    with finished_model(repository, name) as folder:
        shutil.copyfile(artefact / served.file, folder / served.file)
        _write_config(folder, ir.load(artefact / ONNX_FILE), name, served)
    return repository / name, manifest


def serve_checkpoint(recipe: Recipe, repository: Path, *, work: Work) -> tuple[Path, Lowered]:
    """Lower a checkpoint into a model repository, unvalidated; returns the model's folder and what was lowered.

    Raises `EnvironmentLackError` before anything slow where the file has to be compiled on a device that is not here.
    """
    target = check_served(recipe.engine.target)
    served = target.served
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
