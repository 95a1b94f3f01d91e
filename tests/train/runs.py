"""Short runs of `finetune` on tiny checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.core.progress import Progress, Silent
from bertc.jobs.finetune import Place, finetune
from bertc.recipe import Recipe, recipe_from_document
from tests.tiny import Array

TIMES = ("created", "command", "seconds", "sentences_per_second", "digest")


def recipe_of(checkpoint: Path, rows: Path, *, mode: str = "2", **training: Any) -> Recipe:
    """Return the recipe of a run of 12 steps on one batch size for all."""
    fields = {"data": str(rows), "steps": 12, "batch_size": 5, "evaluations": 4, "held_out": 4, "precision": "fp32"}
    document = {"checkpoint": str(checkpoint), "quantization": {"mode": mode}, "engine": {"threads": 1}}
    return recipe_from_document({**document, "training": fields | training}, "test")


def run(recipe: Recipe, out: Path, *, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Train in silence without a cache; returns training.json's content."""
    work = Work(StageCache(None), progress or Silent())
    report = finetune(recipe, Place(out=out, resume=resume), work=work, command="bertc finetune").report
    return dict(report)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without what differs from run to run."""
    return {name: value for name, value in report.items() if name not in TIMES}


def scale_parameters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the learned scales of a network, log(s / start): its only scalar parameters."""
    return [parameter for parameter in network.parameters() if not parameter.ndim]


def weights_of(folder: Path) -> dict[str, Array]:
    """Return the tensors of a checkpoint."""
    return dict(load_file(folder / "model.safetensors"))
