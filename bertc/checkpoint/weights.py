"""The weights of a folder under the names that model families read, mapped and read one by one.

Safetensors files (one, or shards with an index) are preferred to torch's pickles, these to TensorFlow's files, and an
exported ONNX graph comes last. What is no part of the model, such as an optimizer's slots, is left out and its bytes
are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.files import contained_path, read_object
from bertc.checkpoint.google_folder import index_from_folder
from bertc.checkpoint.inventory import IGNORED
from bertc.checkpoint.names import is_kernel, is_quantizer, plain_name, shared_wrapper, unwrapped_name
from bertc.checkpoint.safetensors_file import SafetensorsFile
from bertc.checkpoint.tensorflow_file import TensorFlowFile
from bertc.checkpoint.torch_file import TorchFile
from bertc.errors import InputError

# Layouts in which the stored weights are not the model's: (ending of a name that tells, what was done).
CONVERTED = (
    ("._weight_mask", "ModelOpt keeps its sparsity's mask beside dense weights; call mts.export(model) before saving"),
    (".amaxList", "FasterTransformer has packed the weights for a GPU; give the checkpoint before that conversion"),
)


SMOOTHED = ".input_quantizer._pre_quant_scale"
"""ModelOpt's SmoothQuant multiplies a layer's input by this, and has divided the columns of the stored weight by it."""


class TensorFile(Protocol):
    """One file of named tensors, or one with an index that is a file too: `path` names it, `paths` are all files.

    `notes` are sentences on what was understood and is not plain to see.
    """

    path: Path
    paths: tuple[Path, ...]
    notes: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""

    def size(self, name: str) -> int:
        """Return a tensor's size in bytes as stored."""

    def dtype(self, name: str) -> str:
        """Return a tensor's stored type, for messages."""

    def is_float(self, name: str) -> bool:
        """Say whether `array` can read a tensor."""

    def array(self, name: str) -> NDArray[np.float32]:
        """Read a tensor as float32."""


SOURCES: Mapping[str, Callable[[Path], TensorFile]] = MappingProxyType(
    {".safetensors": SafetensorsFile, ".bin": TorchFile}
)


class MappedWeights:
    """The model's tensors in one or more files; see `Weights` for its interface.

    `files` are the weight files, `ignored_bytes` the stored size of what is left out. `quantizers` are the buffers of
    fake quantizers, small and read at once. `wrapper` is what all stored names begin with ("module."), and is no part
    of any name here; `notes` say so.
    """

    def __init__(self, files: tuple[TensorFile, ...], *, prefix: str | tuple[str, ...]) -> None:
        """Take the files' tensors, without the encoder's `prefix` ("bert.", or one of several) in their names."""
        self.files = tuple(path for file in files for path in file.paths)
        self.ignored_bytes = 0
        self.wrapper = shared_wrapper(name for file in files for name in file)
        self.notes = tuple(note for file in files for note in file.notes)
        if self.wrapper:
            self.notes += (f"all names in {self.files[0].name} begin with {self.wrapper}, which was left away",)
        self.quantizers: dict[str, NDArray[np.float32]] = {}
        self._smoothed: dict[str, NDArray[np.float32]] = {}
        self._tensors: dict[str, tuple[TensorFile, str]] = {}
        self._left_out: dict[str, tuple[TensorFile, str]] = {}
        for file in files:
            for stored in file:
                self._add(file, stored, plain_name(stored.removeprefix(self.wrapper), prefix))
        self._check_smoothed()
        if not self._tensors:
            raise InputError(f"{self.files[0]} holds no weights of a model; download or save the checkpoint again")

    @property
    def parameters(self) -> int:
        """The number of weights that are the model's."""
        return sum(math.prod(self.shape(name)) for name in self._tensors)

    def include(self, names: Iterable[str]) -> None:
        """Let tensors that are left out be the model's, because its head reads them; those that are not there stay so.

        A head of pre-training is left out of every model but a masked language model.
        """
        for name in names:
            if name in self._left_out:
                self._tensors[name] = file, stored = self._left_out.pop(name)
                self.ignored_bytes -= file.size(stored)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._tensors)

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it. Raises `InputError` if it is missing."""
        file, stored = self._find(name)
        shape = file.shape(stored)
        return shape[::-1] if is_kernel(stored) else shape

    def stored_name(self, name: str) -> str:
        """Return a tensor's name in its file, unwrapped and in torch's words. Raises `InputError` if it is missing."""
        return unwrapped_name(self._find(name)[1], self.wrapper)

    def array(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32. Raises `InputError` if it is missing or holds NaN or infinity."""
        file, stored = self._find(name)
        values = file.array(stored)
        values = np.ascontiguousarray(values.T) if is_kernel(stored) else values
        if name in self._smoothed:
            values = values * self._smoothed[name]
        finite = np.isfinite(values)
        if not finite.all():
            raise InputError(
                f"{file.path}: tensor {stored} holds {values.size - int(finite.sum())} NaN or infinite values of "
                f"{values.size}; train or convert the checkpoint again"
            )
        return values

    def _find(self, name: str) -> tuple[TensorFile, str]:
        found = self._tensors.get(name) or self._left_out.get(name)
        if found is None:
            raise InputError(
                f"{self.files[0].parent} lacks the tensor {name}; use a checkpoint of this architecture with all of "
                "its weights"
            )
        return found

    def _add(self, file: TensorFile, stored: str, name: str) -> None:
        if IGNORED.search(name):
            self.ignored_bytes += file.size(stored)
            self._left_out[name] = (file, stored)
            return
        for ending, done in CONVERTED:
            if f".{name}".endswith(ending):
                raise InputError(f"{file.path} holds {stored}: {done}")
        if self._is_copy(file, stored, name):
            self.ignored_bytes += file.size(stored)
            return
        if name in self._tensors or name in self.quantizers:
            other = self._tensors[name][1] if name in self._tensors else name
            raise InputError(f"{file.path}: tensors {other} and {stored} are both {name}; remove one of them")
        if not file.is_float(stored):
            raise InputError(
                f"{file.path}: tensor {stored} has the type {file.dtype(stored)}, not F32, F16 or BF16; give the "
                "checkpoint before any quantization"
            )
        if name.endswith(SMOOTHED):
            self._smoothed[f"{name.removesuffix(SMOOTHED)}.weight"] = file.array(stored)
            return
        if is_quantizer(name):
            self.quantizers[name] = file.array(stored)
            return
        self._tensors[name] = (file, stored)

    def _check_smoothed(self) -> None:
        """Undo smoothing: the weights become those before it, to which its ranges do not belong.

        Raises `InputError` for a scale that fits no weight.
        """
        for name, scale in self._smoothed.items():
            if name not in self._tensors or self.shape(name)[1:] != scale.shape or not (scale > 0).all():
                raise InputError(
                    f"{self.files[0]}: the smoothing {name.removesuffix('.weight')}{SMOOTHED} fits no weight; save the "
                    "checkpoint again"
                )
        if self._smoothed:
            self.quantizers.clear()
            self.notes += (
                (
                    f"ModelOpt's smoothing of {len(self._smoothed)} weights was undone (W x pre_quant_scale), and the "
                    "ranges that belong to the smoothed model were left out"
                ),
            )

    def _is_copy(self, file: TensorFile, stored: str, name: str) -> bool:
        """Say whether PEFT has stored a tensor of `modules_to_save` twice, as it does with `bias: all`."""
        if ".modules_to_save." not in stored or name not in self._tensors:
            return False
        other, first = self._tensors[name]
        return file.is_float(stored) and np.array_equal(other.array(first), file.array(stored))


def weights_from_path(folder: Path, *, prefix: str | tuple[str, ...]) -> MappedWeights:
    """Open the weights in a folder. Raises `InputError` if there are none, or if files are missing or damaged."""
    for ending, stem in ((".safetensors", "model"), (".bin", "pytorch_model")):
        single, index = folder / f"{stem}{ending}", folder / f"{stem}{ending}.index.json"
        if single.is_file():
            weights = MappedWeights((SOURCES[ending](single),), prefix=prefix)
            weights.notes += _notes_on_shards(single)
            return weights
        if index.is_file():
            return MappedWeights(_shards(folder, index, ending), prefix=prefix)
    of_tensorflow = index_from_folder(folder)
    if of_tensorflow is not None:
        return MappedWeights((TensorFlowFile(of_tensorflow),), prefix=prefix)
    if any(folder.rglob("*.onnx")):
        from bertc.checkpoint.onnx_file import OnnxFile, graph_file_from_folder

        return MappedWeights((OnnxFile(graph_file_from_folder(folder)),), prefix=prefix)
    raise InputError(
        f"{folder} holds neither model.safetensors nor pytorch_model.bin, TensorFlow's bert_model.ckpt.index or an "
        "ONNX graph; give the folder of a checkpoint saved by transformers, or by Google's BERT"
    )


def _notes_on_shards(single: Path) -> tuple[str, ...]:
    """Say that one file was read beside shards: transformers leaves it when it saves in shards, and reads it first."""
    if not any(single.parent.glob(f"{single.stem}-*-of-*{single.suffix}")):
        return ()
    return (f"{single.name} was read, as transformers does, and not the shards beside it; remove what is older",)


def _shards(folder: Path, index: Path, ending: str) -> tuple[TensorFile, ...]:
    """Open the files that an index names, and check that each has the tensors it should have."""
    entries = read_object(index).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{index} has no weight_map; download or save the checkpoint again")
    paths = {name: contained_path(folder, name, index) for name in dict.fromkeys(map(str, entries.values()))}
    files: dict[str, TensorFile] = {}
    for name, path in sorted(paths.items()):
        if not name.endswith(ending):
            raise InputError(f"{index} names {name!r}, which is no {ending} file; repair the entry")
        if not path.is_file():
            raise InputError(f"{index} names {name}, which is missing; download or copy all shards")
        files[name] = SOURCES[ending](path)
    stored = {name: set(file) for name, file in files.items()}
    for tensor, name in entries.items():
        if tensor not in stored[str(name)]:
            raise InputError(f"{index} says that {name} holds {tensor}, which it does not; download the shards again")
    return tuple(files.values())
