"""Linear layers that lie in folders of their own beside the encoder: sentence-transformers' Dense, and PyLate's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.files import read_object
from bertc.checkpoint.weights import SOURCES, MappedWeights
from bertc.checkpoint.weights_view import WeightsView
from bertc.core.head import Projection
from bertc.errors import InputError

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ACTIVATIONS = {"Identity": False, "Tanh": True}
"""torch.nn's activations that a layer may have, and whether each is tanh; the library's own default is Tanh."""

SENTENCE, TOKENS = "sentence_embedding", "token_embeddings"
"""What a module may read, by the library's names."""


def projection_from_folder(root: Path, folder: Path, *, of_tokens: bool, reads_always_tokens: bool) -> Projection:
    """Read the layer in a `folder` of the checkpoint `root`, which stands behind tokens or behind their pooling.

    `reads_always_tokens`: PyLate's class does, whatever its file says. Raises `InputError` for what bertc does not
    compute, and where weights and configuration disagree.
    """
    path = folder / CONFIG
    if folder == root:
        raise InputError(f"{root}/modules.json: a Dense has no folder of its own; save the checkpoint again")
    config = read_object(path)
    bias = config.get("bias", True)
    if not isinstance(bias, bool):
        raise InputError(f"{path}: bias is {bias!r}, not true or false; correct the file")
    if config.get("use_residual"):
        raise InputError(f"{path}: use_residual is set, which bertc does not compute; train the layer without")
    _check_place(path, config, TOKENS if of_tokens else SENTENCE, ignored=reads_always_tokens and of_tokens)
    found = Projection(
        folder=folder.relative_to(root).as_posix(),
        sizes=(_size(path, config, "in_features"), _size(path, config, "out_features")),
        bias=bias,
        tanh=_is_tanh(path, config.get("activation_function", "torch.nn.modules.activation.Tanh")),
    )
    _check_weights(folder, found)
    return found


def dense_weights(folder: Path) -> MappedWeights:
    """Open a layer's weights, linear.weight [out, in] and linear.bias [out]. Raises `InputError` without any."""
    for name in WEIGHTS:
        path = folder / name
        if path.is_file():
            return MappedWeights((SOURCES[path.suffix](path),), prefix="")
    raise InputError(
        f"{folder} holds neither {' nor '.join(WEIGHTS)}, one of which has the weights of the Dense that modules.json "
        "names; copy it from the checkpoint"
    )


class WithModules(WeightsView):
    """An encoder's weights and those of modules in folders of their own, whose names begin with the folder's.

    See `Weights` for the interface; `files` are the encoder's.
    """

    def __init__(self, encoder: Weights, modules: Mapping[str, Weights]) -> None:
        """Take the encoder's weights, and each folder's."""
        self._places = {f"{folder}.{name}": (weights, name) for folder, weights in modules.items() for name in weights}
        super().__init__(encoder, (*encoder, *self._places))

    def source(self, name: str) -> tuple[Weights, str]:
        """Return where a tensor is: the encoder's, or a module's."""
        return self._places.get(name, (self._whole, name))


def _size(path: Path, config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1_000_000:
        raise InputError(f"{path}: {name} is {value!r}, not a number of channels; correct the file")
    return value


def _is_tanh(path: Path, named: Any) -> bool:
    kind = str(named).rpartition(".")[2]
    if not str(named).startswith("torch.nn.") or kind not in ACTIVATIONS:
        raise InputError(
            f"{path}: the activation_function {named} is not supported; bertc computes torch.nn's "
            f"{' and '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[kind]


def _check_place(path: Path, config: Mapping[str, Any], place: str, *, ignored: bool) -> None:
    """Refuse a layer that reads or writes something else than what comes before and behind it."""
    read, written = config.get("module_input_name"), config.get("module_output_name")
    read = SENTENCE if read is None else read
    written = read if written is None else written
    if not ignored and (read != place or written != place):
        raise InputError(
            f"{path}: the layer reads {read} and writes {written}, and where it stands bertc computes {place}; let "
            "module_input_name and module_output_name name that, if it is what the layer was trained for"
        )


def _check_weights(folder: Path, found: Projection) -> None:
    weights = dense_weights(folder)
    wanted: dict[str, tuple[int, ...]] = {"linear.weight": found.sizes[::-1]}
    if found.bias:
        wanted["linear.bias"] = found.sizes[1:]
    there = {name: weights.shape(name) for name in weights}
    if there != wanted:
        raise InputError(
            f"{folder} holds {_shapes(there)} where its {CONFIG} says {_shapes(wanted)}; save the module again"
        )


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
