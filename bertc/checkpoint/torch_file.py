"""One pytorch_model.bin, read by torch as plain weights only: code in a pickle is refused, never run.

The only file of the package's reading that knows torch, which comes with the extra `train`.
"""

from __future__ import annotations

import importlib
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import EnvironmentLackError, InputError

CONVERT = "convert the checkpoint to safetensors"


class TorchFile:
    """The tensors of a file that torch saved. Raises `InputError` if it holds anything else than named tensors."""

    def __init__(self, path: Path) -> None:
        """Load the file, mapped where its format allows. Raises `EnvironmentLackError` without torch."""
        try:
            torch = importlib.import_module("torch")
        except ImportError as error:
            raise EnvironmentLackError(
                f"{path} needs torch to be read; run pip install 'bertc[train]', or {CONVERT}"
            ) from error
        self.path = path
        self.paths: tuple[Path, ...] = (path,)
        self.notes: tuple[str, ...] = ()
        content = _load(path, torch)
        self._tensors = _checked(path, content, torch)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(int(size) for size in self._tensors[name].shape)

    def size(self, name: str) -> int:
        """Return a tensor's size in bytes as stored."""
        return int(self._tensors[name].nbytes)

    def dtype(self, name: str) -> str:
        """Return a tensor's stored type, in torch's words."""
        return str(self._tensors[name].dtype)

    def is_float(self, name: str) -> bool:
        """Say whether a tensor is stored as floating-point numbers."""
        return bool(self._tensors[name].is_floating_point())

    def array(self, name: str) -> NDArray[np.float32]:
        """Read a floating-point tensor as float32, in memory of its own."""
        return np.array(self._tensors[name].detach().float().numpy(), np.float32)


def _load(path: Path, torch: Any) -> Any:
    try:
        mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are no zip archives and cannot be mapped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # the pickle's word for a class or function; torch has a list of plain ones
            raise InputError(f"{path} holds code or objects beside weights and is not opened; {CONVERT}") from error
        raise InputError(
            f"{path} is damaged or holds more than plain weights; download it again, or {CONVERT}"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is truncated or damaged; download it again, or {CONVERT}") from error


def _checked(path: Path, content: Any, torch: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds no named tensors; {CONVERT}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise InputError(f"{path} holds {name!r}, which is no plain tensor; {CONVERT}")
    return content
