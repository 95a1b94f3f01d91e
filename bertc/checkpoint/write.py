"""Write a checkpoint whose weights were changed (pruned, fine-tuned) as a Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Checkpoint
from bertc.checkpoint.config_json import CONFIG_FILE
from bertc.checkpoint.google_folder import is_google_folder
from bertc.checkpoint.heads_apart import stored_values
from bertc.checkpoint.shared_heads import values_once
from bertc.errors import InputError


def write_checkpoint(checkpoint: Checkpoint, folder: Path, changed: Mapping[str, NDArray[np.float32]]) -> None:
    """Write `checkpoint` into `folder` with some weights replaced; its other files are copied as they are, and those of
    Google's BERT become transformers'.

    `changed` maps names of `checkpoint.weights` to arrays of the same shape. Every tensor is stored as float32 under
    the name it had in its file, parts of one joined again, so whatever opened the checkpoint opens the copy. Raises
    `InputError` for a name or a shape that is not the checkpoint's, and for values that are not finite.
    """
    from safetensors.numpy import save_file

    weights = checkpoint.weights
    beside = {f"{each.module}.": each.folder for each in checkpoint.head.projections if each.folder}
    parts: dict[str, dict[str, list[NDArray[np.float32]]]] = {"": {}}
    for name in weights:
        values = changed.get(name)
        if values is None:
            values = weights.array(name)
        elif values.shape != weights.shape(name) or not np.isfinite(values).all():
            raise InputError(
                f"the new values of {name} are not finite, or have the shape {list(values.shape)} in the place of "
                f"{list(weights.shape(name))}; the checkpoint was not written"
            )
        home = next((place for prefix, place in beside.items() if name.startswith(prefix)), "")
        once = values_once(checkpoint.architecture, name, values)
        stored = stored_values(checkpoint.architecture, name, once)
        parts.setdefault(home, {}).setdefault(weights.stored_name(name), []).append(stored)
    unknown = sorted(set(changed) - set(weights))
    if unknown:
        raise InputError(f"{checkpoint.path} has no tensor {unknown[0]}, so it cannot be replaced")
    encoder = folder / weights.files[0].parent.relative_to(checkpoint.path)
    encoder.mkdir(parents=True, exist_ok=True)
    files = checkpoint.files
    if is_google_folder(weights.files[0].parent):  # the copy is transformers', with all that stood in no file
        files = ()
        checkpoint.encoder.save(encoder)
    if weights.files[0].parent / CONFIG_FILE not in files:  # no file has its configuration
        (encoder / CONFIG_FILE).write_text(json.dumps(dict(checkpoint.config), indent=2) + "\n", encoding="utf-8")
    for file in files:
        place = folder / file.relative_to(checkpoint.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    for home, written in parts.items():
        tensors = {name: np.ascontiguousarray(np.concatenate(rows), np.float32) for name, rows in written.items()}
        save_file(tensors, (folder / home if home else encoder) / "model.safetensors", metadata={"format": "pt"})
