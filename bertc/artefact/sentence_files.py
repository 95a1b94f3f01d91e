"""The files by which sentence-transformers, PyLate and ColBERT open an artefact: modules, their folders, settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.artefact.layout import MODULE_CONFIG_FILE, MODULES_FILE, SENTENCE_FILE
from bertc.checkpoint import Checkpoint
from bertc.checkpoint.cross_encoder import FILE as SENTENCE_CONFIG_FILE
from bertc.checkpoint.files import contained_path, read_json, read_object_if_there
from bertc.checkpoint.interaction_files import METADATA
from bertc.checkpoint.sentence_modules import ORDER, POOLING_FLAGS, sentence_modules_from_path
from bertc.core.head import Head
from bertc.tasks import task_from_name

LAYER_MIX = "WeightedLayerPooling"
"""The module that mixes the layers' outputs. The engine's graph has the mix: what it gives out is mixed already."""

USUAL_TYPES = "sentence_transformers.models."
"""Where all versions of sentence-transformers find these modules; from 6 on it writes names that 5 does not know."""

OF_TORCH = ("model_args", "model_kwargs")
"""Settings of the checkpoint's model in torch, of which an engine has none."""


def write_sentence_files(folder: Path, checkpoint: Checkpoint, *, max_length: int, settings: Mapping[str, Any]) -> None:
    """Write what sentence-transformers reads: the checkpoint's own files, or what its head means where it has none.

    The encoder's folder becomes the artefact's own, where its configuration, tokenizer and model lie. `max_length` is
    the engine's; `settings` is what its runtime has to be opened with (`Runtime.sentence_settings`).
    """
    root, encoder, head = checkpoint.path, checkpoint.weights.files[0].parent, checkpoint.head
    for name in (SENTENCE_CONFIG_FILE, METADATA):
        if (root / name).is_file():
            shutil.copyfile(root / name, folder / name)
    pooled = head.interaction is None and not task_from_name(head.task).token_scores
    if _describe(root, head, pooled=pooled):
        _copy_modules(root, encoder, folder)
    elif pooled:
        _write_modules(folder, head, checkpoint.architecture.hidden)
    own = read_object_if_there(encoder / SENTENCE_FILE)
    if pooled:
        kept = {name: value for name, value in own.items() if name not in OF_TORCH}
        write_json(folder / SENTENCE_FILE, {**kept, "max_seq_length": max_length, **settings})
    elif own:
        shutil.copyfile(encoder / SENTENCE_FILE, folder / SENTENCE_FILE)


def write_json(path: Path, document: Any) -> None:
    """Write a document as JSON that people read."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _copy_modules(root: Path, encoder: Path, folder: Path) -> None:
    """Copy modules.json and every folder that it names, less the mix of the layers and the encoder's folder."""
    modules = read_json(root / MODULES_FILE)
    kept = [{**module, "type": _usual_type(str(module.get("type")))} for module in modules]
    kept = [module for module in kept if module["type"] != f"{USUAL_TYPES}{LAYER_MIX}"]
    for module in kept:
        place = contained_path(root, module.get("path", ""), root / MODULES_FILE)
        if place == encoder:
            module["path"] = ""
            continue
        for file in sorted(place.glob("*")):
            if file.is_file():
                (folder / module["path"]).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / module["path"] / file.name)
    if encoder == root and kept == modules:
        shutil.copyfile(root / MODULES_FILE, folder / MODULES_FILE)
    else:
        write_json(folder / MODULES_FILE, kept)


def _usual_type(name: str) -> str:
    """Return the name of a module's class by which every version finds it; another library's as it is."""
    kind = name.rpartition(".")[2]
    return f"{USUAL_TYPES}{kind}" if name.startswith("sentence_transformers.") and kind in ORDER else name


def _describe(root: Path, head: Head, *, pooled: bool) -> bool:
    """Say whether modules.json is there and describes this head: another task may have been asked for."""
    modules = sentence_modules_from_path(root)
    if modules is None:
        return False
    return (
        (modules.pooling == head.pooling and not modules.sparse)
        if pooled
        else (modules.pooling is None or modules.sparse)
    )


def _write_modules(folder: Path, head: Head, hidden: int) -> None:
    """Write the modules that a head means: encoder, pooling, normalisation."""
    assert head.pooling is not None
    kinds = ["Transformer", "Pooling", *(["Normalize"] if head.normalize else [])]
    places = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds[1:], start=1))]
    modules = [
        {"idx": index, "name": str(index), "path": place, "type": f"{USUAL_TYPES}{kind}"}
        for index, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    write_json(folder / MODULES_FILE, modules)
    flags = {flag: pooling is head.pooling for flag, pooling in POOLING_FLAGS.items()}
    configs: tuple[dict[str, Any], ...] = ({"word_embedding_dimension": hidden, **flags}, {})
    for place, config in zip(places[1:], configs, strict=False):
        (folder / place).mkdir(exist_ok=True)
        write_json(folder / place / MODULE_CONFIG_FILE, config)
