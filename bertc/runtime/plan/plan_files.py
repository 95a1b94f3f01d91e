"""A plan on disk: native.json, the steps, and native.safetensors, the arrays, which are mapped and never copied.

Every array begins at a multiple of 64 bytes of the file: the header ends with blanks, and what fills up behind an array
is a tensor of its own. The same plan gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.safetensors_file import NUMPY_TYPES, SafetensorsFile
from bertc.core.versions import __version__
from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import ABI, Plan, json_from_plan, plan_from_json
from bertc.runtime.plan.plan_check import check_plan

PLAN = "native.json"
ARRAYS = "native.safetensors"
ALIGNMENT = 64
"""Bytes: a cache line, and the widest register."""

FILL = "fill."
"""What the names of the tensors between arrays begin with."""

STORED = {kind: name for name, kind in NUMPY_TYPES.items()}
"""Types of arrays, and the format's words for them."""

MOST_BYTES = 1 << 26
"""Of the plan: a thousand times what a large model's has."""


def write_plan(plan: Plan, arrays: Mapping[str, NDArray[Any]], folder: Path) -> Path:
    """Write both files into a folder that exists; returns the plan's, which is the one that is opened."""
    content = {"abi": ABI, "bertc": __version__, "plan": json_from_plan(plan)}
    path = folder / PLAN
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    _write_arrays(arrays, folder / ARRAYS)
    return path


def read_plan(path: Path) -> tuple[Plan, Mapping[str, NDArray[Any]]]:
    """Read the plan at `path` and map its arrays, read-only, from the file beside it.

    Raises `InputError` for files that are damaged, do not belong together or were written for another interface.
    """
    plan = plan_from_json(_read_content(path))
    arrays = _read_arrays(path.with_name(ARRAYS))
    try:
        check_plan(plan, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return plan, arrays


def _read_content(path: Path) -> Any:
    """Return the JSON of a plan."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is no plan: it has more than {MOST_BYTES} bytes; build the model again")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check that it exists, readable") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged (it is not JSON: {error}); build the model again") from error
    if not isinstance(content, dict) or set(content) != {"abi", "bertc", "plan"}:
        raise InputError(f"{path} is damaged (it has to hold abi, bertc and plan); build the model again")
    if content["abi"] != ABI or isinstance(content["abi"], bool):
        raise InputError(
            f"{path} was written by bertc {content['bertc']} for another version of plans "
            f"({content['abi']}, this one is {ABI}); build the model again"
        )
    return content["plan"]


def _write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    header: dict[str, Any] = {}
    position = 0
    for name, array in arrays.items():
        end = position + array.nbytes
        header[name] = {"dtype": STORED[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end + -end % ALIGNMENT
        if position > end:
            header[f"{FILL}{end}"] = {"dtype": "U8", "shape": [position - end], "data_offsets": [end, position]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            stream.write(np.ascontiguousarray(array).data)
            stream.write(bytes(-array.nbytes % ALIGNMENT))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    file = SafetensorsFile(path)
    names = [name for name in file if not name.startswith(FILL)]
    for name in names:
        if file.begin(name) % ALIGNMENT or file.size(name) == 0 or file.dtype(name) not in NUMPY_TYPES:
            raise InputError(
                f"{path} is damaged (tensor {name} is empty, of the type {file.dtype(name)}, or does not begin at a "
                f"multiple of {ALIGNMENT} bytes); build the model again"
            )
    return {name: file.mapped(name) for name in names}
