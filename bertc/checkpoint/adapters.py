"""LoRA adapters beside or among the weights, merged into them; every other adapter is refused by name.

PEFT's LoRA of a linear layer computes x W^T + s (x A^T) B^T, which is the layer with W + s B A: merging is exact. s is
lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora`; an embedding's table gets s (B A)^T, and a bias of B gets s
(huggingface/peft, src/peft/tuners/lora/layer.py). What the adapter stores beside its factors (`modules_to_save`, the
biases of `bias: all`) replaces the base model's tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.files import read_object
from bertc.checkpoint.names import Factor, factor_of_name
from bertc.checkpoint.weights import SOURCES, MappedWeights
from bertc.errors import InputError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
MERGE = "merge it into the model (merge_and_unload() in PEFT) and save that"
ALONE = "copy the adapter's files into the folder of the model that it was trained on, or "

# Entries of adapter_config.json that do not change what the stored factors compute, each with the reason.
HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "task_type", "_version"),
            "say where the adapter comes from",
        ),
        **dict.fromkeys(
            ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
            "say which layers were to be adapted; the file has the factors of those that were",
        ),
        **dict.fromkeys(
            ("bias", "lora_bias", "rank_pattern"), "say what was trained; the file has the tensors, and their shapes"
        ),
        **dict.fromkeys(
            ("lora_dropout", "inference_mode", "ensure_weight_tying", "eva_config", "runtime_config"),
            "matter in training alone",
        ),
        **dict.fromkeys(
            ("megatron_core", "qalora_group_size"), "belong to variants that have switches of their own (refused if on)"
        ),
        "fan_in_fan_out": "PEFT sets it to false for the linear layers that these models have",
    }
)
READ = ("peft_type", "r", "lora_alpha", "alpha_pattern", "use_rslora", "init_lora_weights")
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal", None)
"""Values of `init_lora_weights` that leave the base model's weights as they are."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to one tensor: `scale` B A, transposed for a table; or the bias of B, without A."""

    b: str
    a: str | None
    scale: float
    transposed: bool


class AdaptedWeights:
    """A model's weights with an adapter merged, each when it is read; see `Weights` for the interface."""

    def __init__(self, base: MappedWeights, tensors: MappedWeights, deltas: Mapping[str, Delta]) -> None:
        """Take the base model, the adapter's tensors, and which of them are added to which of the base model's."""
        self._base, self._tensors, self._deltas = base, tensors, dict(deltas)
        factors = {name for delta in deltas.values() for name in (delta.a, delta.b)}
        self._replaced = {name for name in tensors if name not in factors}
        own = tensors is base  # the factors stand among the model's tensors
        added = () if own else tuple(name for name in tensors if name in self._replaced and name not in base)
        self._names = dict.fromkeys((*(name for name in base if name not in factors), *added))
        self._replaced = set() if own else self._replaced
        self.files = base.files if own else (*base.files, *tensors.files)
        self.quantizers = base.quantizers
        self.notes = base.notes

    @property
    def ignored_bytes(self) -> int:
        """The stored size of what is left out of the base model."""
        return self._base.ignored_bytes

    @property
    def parameters(self) -> int:
        """The number of weights that are the model's."""
        return sum(math.prod(self.shape(name)) for name in self._names)

    def include(self, names: Iterable[str]) -> None:
        """Let tensors that are left out of the base model be the model's, because its head reads them."""
        wanted = tuple(names)
        self._base.include(wanted)
        self._names |= dict.fromkeys(name for name in wanted if name in self._base)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        return self._source(name).shape(name)

    def stored_name(self, name: str) -> str:
        """Return the name that a tensor has in its file. Raises `InputError` if it is missing."""
        return self._source(name).stored_name(name)

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32, merged. Raises `InputError` if it is missing or holds NaN or infinity."""
        values = self._source(name).array(name)
        delta = self._deltas.get(name)
        if delta is None:
            return values
        added = self._tensors.array(delta.b)
        if delta.a is not None:
            added = added @ self._tensors.array(delta.a)
        merged = values + np.float32(delta.scale) * (added.T if delta.transposed else added)
        if not np.isfinite(merged).all():
            raise InputError(f"{self.files[0].parent}: {name} with its adapter is not finite; train the adapter again")
        return np.asarray(merged, np.float32)

    def _source(self, name: str) -> MappedWeights:
        if name in self._replaced:
            return self._tensors
        try:
            self._base.stored_name(name)
        except InputError as error:  # PEFT neither trains nor saves a pooler that was random above the base model
            raise InputError(
                f"{self.files[0].parent} lacks the tensor {name}, and so does the adapter; train it again with that "
                "module in PEFT's modules_to_save"
            ) from error
        return self._base


def adapted_weights(
    folder: Path, base: MappedWeights, *, prefix: str | tuple[str, ...]
) -> MappedWeights | AdaptedWeights:
    """Merge the adapter that lies in a folder, or stands among its weights; without one return the weights.

    Raises `InputError` for an adapter that is no LoRA, one whose files are not all there, and one that was trained on
    another model.
    """
    path = folder / ADAPTER_CONFIG
    files = [folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()]
    among = [name for name in base if factor_of_name(name) is not None]
    if not path.is_file():
        _refuse_without_config(folder, files, among, base)
        return base
    config = read_object(path)
    _check_config(path, config)
    if bool(files) == bool(among):
        what = "both beside and among the weights" if files else f"but no {ADAPTER_WEIGHTS[0]}"
        raise InputError(f"{folder} has {ADAPTER_CONFIG} {what}; {ALONE}{MERGE}")
    tensors = base if among else MappedWeights((SOURCES[files[0].suffix](files[0]),), prefix=prefix)
    if base.quantizers or tensors.quantizers:
        raise InputError(f"{folder}: the quantizers' ranges are not those of the adapted weights; {MERGE}")
    deltas = _deltas(path, config, base, tensors)
    weights = AdaptedWeights(base, tensors, deltas)
    weights.notes += (
        f"the LoRA adapter in {path} was merged into {len(deltas)} of the model's tensors (W + B A x alpha / r)",
    )
    return weights


def refuse_adapter_alone(folder: Path) -> None:
    """Say what is missing where a folder has an adapter and no model. Raises `InputError`."""
    path = folder / ADAPTER_CONFIG
    if path.is_file() and not (folder / "config.json").is_file():
        base = read_object(path).get("base_model_name_or_path") or "not named"
        raise InputError(f"{folder} holds an adapter without its model (the base model is {base}); {ALONE}{MERGE}")


def _refuse_without_config(folder: Path, files: list[Path], among: list[str], base: MappedWeights) -> None:
    if files or among:
        what = files[0].name if files else f"the adapter's tensor {base.stored_name(among[0])}"
        raise InputError(
            f"{folder} holds {what} without {ADAPTER_CONFIG}, which has its scale; copy it there, or {MERGE}"
        )


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        what = f"a {kind} adapter" if kind else "an adapter that PEFT did not write"
        raise InputError(f"{path} describes {what}; bertc merges LoRA alone: {MERGE}")
    if config.get("init_lora_weights") not in PLAIN_STARTS:
        start = config["init_lora_weights"]
        raise InputError(f"{path}: init_lora_weights {start!r} changes the base model's weights as well; {MERGE}")
    for name, value in config.items():
        if name not in HARMLESS and name not in READ and value:
            raise InputError(f"{path}: {name} is set, which bertc does not merge; {MERGE}")


def _deltas(path: Path, config: Mapping[str, Any], base: MappedWeights, tensors: MappedWeights) -> dict[str, Delta]:
    """Return what is added to each tensor of the base model. Raises `InputError` where factors and tensors differ."""
    factors: dict[str, dict[Factor, str]] = {}
    for name in tensors:
        found = factor_of_name(name)
        if found is None:
            _check_replaced(path, base, tensors, name)
            continue
        module, factor = found
        if factor is Factor.OTHER or factor in factors.setdefault(module, {}):
            raise InputError(f"{path.parent}: bertc does not merge the adapter's {tensors.stored_name(name)}; {MERGE}")
        factors[module][factor] = name
    if not factors:
        raise InputError(f"{path.parent} has {ADAPTER_CONFIG} but no factors lora_A and lora_B; {ALONE}{MERGE}")
    deltas: dict[str, Delta] = {}
    for module, parts in factors.items():
        deltas |= _deltas_of_module(path, config, base, tensors, module, parts)
    return deltas


def _deltas_of_module(
    path: Path,
    config: Mapping[str, Any],
    base: MappedWeights,
    tensors: MappedWeights,
    module: str,
    parts: Mapping[Factor, str],
) -> dict[str, Delta]:
    table = Factor.TABLE_A in parts or Factor.TABLE_B in parts
    first, second = (Factor.TABLE_A, Factor.TABLE_B) if table else (Factor.A, Factor.B)
    if first not in parts or second not in parts:
        raise InputError(f"{path.parent}: the adapter of {module} lacks {first} or {second}; {MERGE}")
    a, b, weight = parts[first], parts[second], f"{module}.weight"
    one, two = tensors.shape(a), tensors.shape(b)
    product = (*two[:1], *one[1:])
    shape = product[::-1] if table else product
    if len(one) != 2 or len(two) != 2 or one[0] != two[1] or weight not in base or base.shape(weight) != shape:
        raise InputError(
            f"{path.parent}: the adapter's factors of {module} are {list(two)} and {list(one)}, which do not fit the "
            f"model's {weight}; {ALONE}{MERGE}"
        )
    scale = _scale(path, config, module, one[0])
    found = {weight: Delta(b, a, scale, table)}
    if Factor.BIAS_B in parts:
        bias = f"{module}.bias"
        if bias not in base or base.shape(bias) != tensors.shape(parts[Factor.BIAS_B]):
            raise InputError(f"{path.parent}: the adapter has a bias for {module}, and the model none; {MERGE}")
        found[bias] = Delta(parts[Factor.BIAS_B], None, scale, False)
    return found


def _scale(path: Path, config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return lora_alpha / r, or / sqrt(r); `alpha_pattern` has the alpha of some modules, by the end of their names."""
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping):
        raise InputError(f"{path}: alpha_pattern is {patterns!r}, no object of patterns; {MERGE}")
    try:
        alpha = next((patterns[key] for key in patterns if re.match(rf"(.*\.)?({key})$", module)), alpha)
    except re.error as error:
        raise InputError(f"{path}: alpha_pattern is no pattern ({error}); {MERGE}") from error
    known = isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha)
    if not known or rank == 0:
        raise InputError(f"{path}: lora_alpha is {alpha!r}, not a number; {MERGE}")
    assert alpha is not None
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _check_replaced(path: Path, base: MappedWeights, tensors: MappedWeights, name: str) -> None:
    """Refuse a tensor of the adapter that stands for one of the base model and has another shape."""
    module = name.rpartition(".")[0]
    known = name in base or name.rpartition(".")[2] in ("weight", "bias")
    if not known or (name in base and base.shape(name) != tensors.shape(name)):
        raise InputError(
            f"{path.parent}: bertc does not merge the adapter's {tensors.stored_name(name)}, which fits no tensor of "
            f"{module}; {ALONE}{MERGE}"
        )
