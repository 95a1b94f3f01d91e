"""A double of triton_python_backend_utils: the module that the Python backend gives to a model, as far as ours uses it.

benchmarks/triton_python.py asks the real one. Like there, a tensor of texts is an array of bytes with one axis more
than the texts have, and who names no output is asked for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.triton_schema import read_config


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> NDArray[Any]:
        return self._array

    def to_dlpack(self) -> NDArray[Any]:
        return self._array

    @staticmethod
    def from_dlpack(name: str, array: NDArray[Any]) -> Tensor:
        return Tensor(name, array)


class OldTensor(Tensor):
    """That of a server before 24.11 with numpy 2: what comes from outside has its first element everywhere."""

    @staticmethod
    def from_dlpack(name: str, array: NDArray[Any]) -> Tensor:
        return Tensor(name, np.broadcast_to(array.ravel()[:1], array.shape))


class TritonError:
    """Why a request has no answer."""

    INTERNAL, INVALID_ARG, CANCELLED = "internal", "invalid argument", "cancelled"

    def __init__(self, message: str, code: str) -> None:
        self.text, self.kind = message, code

    def message(self) -> str:
        return self.text

    def code(self) -> str:
        return self.kind


class InferenceResponse:
    """What a request is answered: tensors or an error."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.tensors, self.failure = list(output_tensors), error

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        return {tensor.name(): tensor.as_numpy() for tensor in self.tensors}


@dataclass
class Request:
    """A request: arrays by name, and the outputs it asks for."""

    given: Mapping[str, NDArray[Any]]
    wanted: Sequence[str]
    cancelled: bool = False

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.given.items()]

    def requested_output_names(self) -> list[str]:
        return list(self.wanted)

    def is_cancelled(self) -> bool:
        return self.cancelled


@dataclass
class Logger:
    """Keeps what is logged."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def log_info(self, message: str) -> None:
        self.notes.append(message)

    def log_warn(self, message: str) -> None:
        self.warnings.append(message)

    def log_error(self, message: str) -> None:
        self.errors.append(message)


def backend_double(tensor: type[Tensor] = Tensor) -> Any:
    """Return a module for `sys.modules`."""
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError, module.InferenceResponse, module.Logger = (
        tensor,
        TritonError,
        InferenceResponse,
        Logger(),
    )
    return module


def model_config(text: str) -> str:
    """Return config.pbtxt as the JSON that a model gets: keys as in the schema, parameters by name."""
    config = read_config(text)
    outputs = [{"name": output.name} for output in config.output]
    parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
    return json.dumps({"name": config.name, "output": outputs, "parameters": parameters})
