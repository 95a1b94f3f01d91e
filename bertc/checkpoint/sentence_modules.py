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
from bertc.checkpoint.dense_modules import projection_from_folder
from bertc.checkpoint.files import contained_path, read_json, read_object, read_object_if_there
from bertc.checkpoint.safetensors_file import SafetensorsFile
from bertc.checkpoint.weights import MappedWeights
from bertc.core.head import Pooling, Projection, Similarity
from bertc.errors import InputError

POOLING_FLAGS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_max_tokens": Pooling.MAX,
}
ORDER = ("Transformer", "WeightedLayerPooling", "Pooling", "Dense", "Normalize")
SPARSE = ("Transformer", "SpladePooling")
SUPPORTED = f"{', '.join(ORDER)} or {' and '.join(SPARSE)}"
OLDER = {"MLMTransformer": "Transformer"}
"""What sentence-transformers 5 calls a transformer whose head is read."""

PYLATE = "pylate.models."
"""What the layer of a model begins with that keeps a vector for every token."""

MAX_SIM = "MaxSim"
Modules = list[tuple[str, Path, str]]
"""Each module's kind, its folder, and its class by its whole name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModules:
    """What modules.json says. `folder` holds the encoder's own files, `files` are those the modules were read from.

    `pooling` is None where every token keeps its vector. `layer_weights` has one entry per layer output, embeddings
    first, and sums to 1; None without such a module. `projections` are the linear layers behind, in their order.
    `dimensions` and `similarity` are those of config_sentence_transformers.json. `sparse`: the vector is SPLADE's.
    """

    folder: Path
    pooling: Pooling | None
    normalize: bool
    layer_weights: tuple[float, ...] | None
    files: tuple[Path, ...]
    projections: tuple[Projection, ...] = ()
    dimensions: int | None = None
    similarity: Similarity | None = None
    sparse: bool = False


def sentence_modules_from_path(root: Path) -> SentenceModules | None:
    """Read `root`/modules.json; None where there is none. Raises `InputError` for a module bertc cannot compute."""
    path = root / "modules.json"
    if not path.is_file():
        return None
    config = read_object_if_there(root / FILE)
    _refuse_prompts(root, config)
    modules = _modules(path)
    kinds = [kind for kind, _, _ in modules]
    folders = {kind: place for kind, place, _ in modules}
    if kinds == ["Transformer"] and folders["Transformer"] == root and is_cross_encoder(root):
        return None  # a cross-encoder is a classifier
    _check_whole(path, kinds)
    files = [path, *([root / FILE] if (root / FILE).is_file() else [])]
    sparse = "SpladePooling" in folders
    pooling = layer_weights = None
    if "Pooling" in folders or sparse:
        files.append(folders["SpladePooling" if sparse else "Pooling"] / "config.json")
        pooling = _splade(files[-1]) if sparse else _pooling(files[-1])
    if "WeightedLayerPooling" in folders:
        layer_weights = _layer_weights(folders["WeightedLayerPooling"])
        files += [folders["WeightedLayerPooling"] / name for name in ("config.json", "model.safetensors")]
    dense = [(place, name) for kind, place, name in modules if kind == "Dense"]
    return SentenceModules(
        folder=folders["Transformer"],
        pooling=pooling,
        normalize="Normalize" in folders,
        layer_weights=layer_weights,
        files=(*files, *(place / "config.json" for place, _ in dense)),
        projections=tuple(
            projection_from_folder(root, place, of_tokens=pooling is None, reads_always_tokens=name.startswith(PYLATE))
            for place, name in dense
        ),
        dimensions=_dimensions(root, config, pooling, sparse=sparse),
        similarity=_similarity(root, config, _usual_similarity(pooling, sparse=sparse)),
        sparse=sparse,
    )


def _modules(path: Path) -> Modules:
    """Return the modules, checked for kind."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} is no list of modules; download the checkpoint again")
    modules: Modules = []
    for entry in entries:
        name = str(entry.get("type"))
        kind = name.rpartition(".")[2]
        kind = OLDER.get(kind, kind)
        known = name.startswith("sentence_transformers.") or (name.startswith(PYLATE) and kind == "Dense")
        twice = kind != "Dense" and any(kind == other for other, _, _ in modules)
        if kind not in (*ORDER, *SPARSE) or not known or twice:
            raise InputError(
                f"{path}: the module {name} is not supported; bertc computes one each of {SUPPORTED} (Dense may come "
                "several times)"
            )
        modules.append((kind, contained_path(path.parent, entry.get("path", ""), path), name))
    return modules


def _check_whole(path: Path, kinds: list[str]) -> None:
    """Refuse another order, and modules that neither pool nor project what the tokens are."""
    if tuple(kinds) == SPARSE:
        return
    of_tokens = kinds[:1] == ["Transformer"] and set(kinds[1:]) == {"Dense"}
    pooled = {"Transformer", "Pooling"} <= set(kinds) <= set(ORDER) and kinds == sorted(kinds, key=ORDER.index)
    if not of_tokens and not pooled:
        raise InputError(
            f"{path}: the modules are {', '.join(kinds)}; bertc computes {SUPPORTED} in this order, or Transformer and "
            "Dense for a vector of every token"
        )


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


def _splade(path: Path) -> Pooling:
    config = read_object(path)
    for name, usual in (("pooling_strategy", "max"), ("activation_function", "relu")):
        if config.get(name, usual) != usual:
            raise InputError(
                f"{path}: {name} {config[name]!r} is not supported; bertc computes SPLADE with {usual!r} alone"
            )
    return Pooling.MAX


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


def _dimensions(root: Path, config: dict[str, Any], pooling: Pooling | None, *, sparse: bool) -> int | None:
    kept = config.get("truncate_dim")
    if kept is not None and (pooling is None or sparse):
        whole = "weights of the vocabulary's tokens" if sparse else "vectors of tokens"
        raise InputError(f"{root / FILE}: truncate_dim is set, but the {whole} are not cut; remove it")
    if kept is not None and (isinstance(kept, bool) or not isinstance(kept, int) or kept < 1):
        raise InputError(f"{root / FILE}: truncate_dim is {kept!r}, not a number of dimensions; correct the file")
    return kept


def _usual_similarity(pooling: Pooling | None, *, sparse: bool) -> str:
    if pooling is None:
        return MAX_SIM
    return Similarity.DOT if sparse else Similarity.COSINE


def _similarity(root: Path, config: dict[str, Any], usual: str) -> Similarity | None:
    """Return how vectors are compared, None for the cosine and for tokens; `usual` is it where the files do not say."""
    named = config.get("similarity_fn_name")
    named = usual if named is None else named
    if usual == MAX_SIM and named != usual:
        raise InputError(f"{root / FILE}: similarity_fn_name {named!r} is not supported; tokens take {MAX_SIM}")
    if named == Similarity.COSINE or usual == MAX_SIM:
        return None
    if not isinstance(named, str) or named not in set(Similarity):
        raise InputError(
            f"{root / FILE}: similarity_fn_name {named!r} is not supported; bertc computes {', '.join(Similarity)}"
        )
    return Similarity(named)


def _refuse_prompts(root: Path, config: dict[str, Any]) -> None:
    prompt = config.get("default_prompt_name")
    if prompt is not None:
        path = root / FILE
        raise InputError(f"{path}: the default prompt {prompt!r} is not supported; remove it and put it into the text")
