"""A model repository for Triton Inference Server: `NAME/config.pbtxt` and the model under `NAME/1/`.

The fields are those of `ModelConfig` in model_config.proto (github.com/triton-inference-server/common). Into an engine
that a backend of Triton runs go tokens: the client has the tokenizer. The Python backend runs a whole artefact.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.space import full_disk
from bertc.core.signals import ends_held
from bertc.errors import InputError, is_full

VERSION = "1"
CONFIG = "config.pbtxt"
MOST_TEXTS = 32
"""Texts of a batch at most; a server that is to take more needs another number in config.pbtxt and nothing else."""

ANSWER = "answer"
TEXTS, IDS = ("text", "pair"), ("input_ids", "attention_mask", "token_type_ids")
"""What the Python backend's model reads: one or the other."""

THREADS = "threads"
"""The parameter that says how many threads the engine of an instance has; 0 is all cores."""

ENGINE = "engine"
"""The parameter that names one of several engines; without it the first is taken that the server's machine runs."""

PYTHON_FILE = "model.py"
ARTEFACT_FOLDER = "artefact"
PYTHON_MODEL = """\
# The artefact in the folder beside this file, opened by the bertc that is installed where the server runs.
from bertc.serve.triton_python import TritonPythonModel

__all__ = ["TritonPythonModel"]
"""

TYPES = {
    ir.DataType.INT64: "TYPE_INT64",
    ir.DataType.INT32: "TYPE_INT32",
    ir.DataType.FLOAT: "TYPE_FP32",
    ir.DataType.FLOAT16: "TYPE_FP16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What config.pbtxt says beside inputs and outputs.

    `profiles` is the number of TensorRT's optimization profiles; 0 for other backends.
    """

    name: str
    backend: str
    file: str
    gpu: bool
    most_texts: int = MOST_TEXTS
    profiles: int = 0


def config_from_model(model: ir.Model, service: Service) -> str:
    """Return config.pbtxt for an ONNX model whose inputs and outputs all have the batch as first axis."""
    lines = [
        f'name: "{service.name}"',
        f'backend: "{service.backend}"',
        f'default_model_filename: "{service.file}"',
        f"max_batch_size: {service.most_texts}",
    ]
    lines += _tensors("input", model.graph.inputs) + _tensors("output", model.graph.outputs)
    lines += ["dynamic_batching {", "}", "instance_group {", "  count: 1"]
    lines.append(f"  kind: {'KIND_GPU' if service.gpu else 'KIND_CPU'}")
    lines += [f'  profile: "{number}"' for number in range(service.profiles)]
    return "\n".join([*lines, "}", ""])


def python_config(name: str, sizes: Mapping[str, Sequence[int]], *, engine: str = "") -> str:
    """Return config.pbtxt of an artefact in the Python backend; `sizes` are the outputs' behind the batch, -1 any.

    Of several engines, `engine` names one; empty leaves the choice to the server's machine.

    Requests of any lengths, of texts or ids, share an execution: every input may be ragged, and none has to be there.
    """
    lines = [f'name: "{name}"', 'backend: "python"', f"max_batch_size: {MOST_TEXTS}"]
    given = [*((each, "TYPE_STRING", [1]) for each in TEXTS), *((each, "TYPE_INT64", [-1]) for each in IDS)]
    for each, kind, dims in given:
        lines += _tensor("input", each, kind, dims, "allow_ragged_batch: true", "optional: true")
    for each, kind, dims in [(ANSWER, "TYPE_STRING", [1]), *((each, "TYPE_FP32", list(sizes[each])) for each in sizes)]:
        lines += _tensor("output", each, kind, dims)
    lines += ["dynamic_batching {", "}", "instance_group {", "  count: 1", "  kind: KIND_CPU", "}"]
    for key, value in ((THREADS, "0"), *([(ENGINE, engine)] if engine else ())):
        lines += ["parameters {", f'  key: "{key}"', f'  value: {{ string_value: "{value}" }}', "}"]
    return "\n".join([*lines, ""])


def _tensors(kind: str, values: Sequence[ir.Value]) -> list[str]:
    lines = []
    for value in values:
        assert value.dtype is not None and value.shape is not None
        sizes = [size if isinstance(size, int) else -1 for size in list(value.shape)[1:]]  # the batch is not a dim
        lines += _tensor(kind, value.name, TYPES[value.dtype], sizes)
    return lines


def _tensor(kind: str, name: str | None, data_type: str, sizes: Sequence[int], *more: str) -> list[str]:
    dims = ", ".join(map(str, sizes))
    fields = [f'name: "{name}"', f"data_type: {data_type}", f"dims: [ {dims} ]", *more]
    return [f"{kind} {{", *(f"  {each}" for each in fields), "}"]


def name_from_path(path: str) -> str:
    """Return a model's name for a checkpoint or artefact: its folder's, in the characters that a URL takes.

    >>> name_from_path("org/my model v1.2/")
    'my_model_v1.2'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(path).resolve().name).strip("._") or "model"


def check_free(repository: Path, name: str) -> Path:
    """Return the model's folder. Raises `InputError` if it is there: a server may be reading it."""
    folder = repository / name
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} is already there and is not overwritten; remove it or name another repository")
    return folder


@contextmanager
def finished_model(repository: Path, name: str) -> Iterator[Path]:
    """Give a folder for the model's file that becomes `repository/name/1` when the block ends well; else nothing stays.

    Beside it, in the folder above, config.pbtxt is to be written. Raises `EnvironmentLackError` if the disk is full.
    """
    folder = check_free(repository, name)
    work: Path | None = None
    try:
        with ends_held():  # a signal between the folder and its name would leave the folder
            work = _new_folder(repository, name)
        (work / VERSION).mkdir()
        yield work / VERSION
        work.chmod(0o755)  # mkdtemp's is private, and a server often runs as somebody else
        work.rename(folder)
    except OSError as error:
        if is_full(error):
            raise full_disk(repository) from error
        raise
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _new_folder(repository: Path, name: str) -> Path:
    try:
        repository.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{name}.", dir=repository))
    except OSError as error:
        if is_full(error):
            raise full_disk(repository) from error
        raise InputError(f"{repository} cannot be written ({error.strerror}); choose another place") from error
