"""sentence-transformers' modules.json: which modules stand on the encoder, as plain values.

Only the library's own modules that bertc computes are taken; anything else is refused by name, and no class that a
file names is ever imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertc.checkpoint.cross_encoder import FILE, is_cross_encoder
from bertc.checkpoint.files import contained_path, read_json, read_object, read_object_if_there
from bertc.checkpoint.safetensors_file import SafetensorsFile
from bertc.checkpoint.weights import MappedWeights
from bertc.core.head import Pooling, Similarity
from bertc.errors import InputError

POOLING_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_max_tokens": Pooling.MAX,
}
ORDER = ("Transformer", "WeightedLayerPooling", "Pooling", "Normalize")
SUPPORTED = ", ".join(ORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModules:
    """What modules.json says. `folder` holds the encoder's own files, `files` are those the modules were read from.

    `layer_weights` has one entry per layer output, embeddings first, and sums to 1; None without such a module.
    `dimensions` and `similarity` are those of config_sentence_transformers.json.
    """

    folder: Path
    pooling: Pooling
    normalize: bool
    layer_weights: tuple[float, ...] | None
    files: tuple[Path, ...]
    dimensions: int | None = None
    similarity: Similarity | None = None


def sentence_modules_from_path(root: Path) -> SentenceModules | None:
    """Read `root`/modules.json; None where there is none. Raises `InputError` for a module bertc cannot compute."""
    path = root / "modules.json"
    if not path.is_file():
        return None
    config = read_object_if_there(root / FILE)
    _refuse_prompts(root, config)
    modules = _modules(path)
    if list(modules) == ["Transformer"] and modules["Transformer"] == root and is_cross_encoder(root):
        return None  # a cross-encoder is a classifier
    _check_whole(path, modules)
    folder = modules["Transformer"]
    files = [path, *([root / FILE] if (root / FILE).is_file() else [])]
    pooling_file = modules["Pooling"] / "config.json"
    files.append(pooling_file)
    layer_weights = None
    if "WeightedLayerPooling" in modules:
        layer_weights = _layer_weights(modules["WeightedLayerPooling"])
        files += [modules["WeightedLayerPooling"] / name for name in ("config.json", "model.safetensors")]
    return SentenceModules(
        folder=folder,
        pooling=_pooling(pooling_file),
        normalize="Normalize" in modules,
        layer_weights=layer_weights,
        files=tuple(files),
        dimensions=_dimensions(root, config),
        similarity=_similarity(root, config),
    )


def _modules(path: Path) -> dict[str, Path]:
    """Return the modules' folders by kind, checked for kind and order."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} is no list of modules; download the checkpoint again")
    modules: dict[str, Path] = {}
    for entry in entries:
        kind = str(entry.get("type"))
        name = kind.rpartition(".")[2]
        if name not in ORDER or not kind.startswith("sentence_transformers.") or name in modules:
            raise InputError(f"{path}: the module {kind} is not supported; bertc computes one each of {SUPPORTED}")
        modules[name] = contained_path(path.parent, entry.get("path", ""), path)
    return modules


def _check_whole(path: Path, modules: dict[str, Path]) -> None:
    if list(modules) != [name for name in ORDER if name in modules] or not {"Transformer", "Pooling"} <= set(modules):
        raise InputError(f"{path}: the modules are {', '.join(modules)}; bertc computes {SUPPORTED} in this order")


def _pooling(path: Path) -> Pooling:
    config = read_object(path)
    named = config.get("pooling_mode")  # newer versions name the mode instead of setting flags
    if isinstance(named, str) and named in set(Pooling):
        return Pooling(named)
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if named is not None or len(chosen) != 1 or chosen[0] not in POOLING_FLAGS:
        what = named if named is not None else ", ".join(chosen) or "none"
        raise InputError(f"{path}: the pooling {what} is not supported; bertc computes one of cls, mean and max")
    return POOLING_FLAGS[chosen[0]]


def _layer_weights(folder: Path) -> tuple[float, ...]:
    """Read the mix of layer outputs: sum_i w_i h_i / sum_i w_i over the layers from `layer_start` on."""
    config = read_object(folder / "config.json")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{folder} has no model.safetensors with the layers' weights; convert it to safetensors")
    weights = MappedWeights((SafetensorsFile(path),), prefix="").array("layer_weights").astype(np.float64).ravel()
    start, layers = (_count(config.get(name)) for name in ("layer_start", "num_hidden_layers"))
    if start < 0 or layers < 0 or start + len(weights) != layers + 1:
        raise InputError(
            f"{folder}: {len(weights)} layer weights do not fit layer_start {start} and num_hidden_layers {layers}; "
            "save the checkpoint again"
        )
    total = float(weights.sum())
    if abs(total) < 1e-12:
        raise InputError(f"{path}: the layers' weights sum to zero; train the checkpoint again")
    return (*(0.0 for _ in range(start)), *(float(weight) / total for weight in weights))


def _count(value: Any) -> int:
    """Return a number of layers, or -1 if the value cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000 else -1


def _dimensions(root: Path, config: dict[str, Any]) -> int | None:
    kept = config.get("truncate_dim")
    if kept is not None and (isinstance(kept, bool) or not isinstance(kept, int) or kept < 1):
        raise InputError(f"{root / FILE}: truncate_dim is {kept!r}, not a number of dimensions; correct the file")
    return kept


def _similarity(root: Path, config: dict[str, Any]) -> Similarity | None:
    named = config.get("similarity_fn_name")
    if named is None or named == Similarity.COSINE:
        return None
    if named not in set(Similarity):
        raise InputError(
            f"{root / FILE}: similarity_fn_name {named!r} is not supported; bertc computes {', '.join(Similarity)}"
        )
    return Similarity(named)


def _refuse_prompts(root: Path, config: dict[str, Any]) -> None:
    prompt = config.get("default_prompt_name")
    if prompt is not None:
        path = root / FILE
        raise InputError(f"{path}: the default prompt {prompt!r} is not supported; remove it and put it into the text")
