"""ModelOpt's modelopt_state.pth: which number format each quantizer has, read without running what a pickle may hold.

The buffers `_amax` have the same names and shapes in every format; the bits stand in this file alone. The pickle is
read with an unpickler for which every class is an empty box, so that nothing is imported and nothing called.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertc.errors import InputError

STATE_FILE = "modelopt_state.pth"
MAX_STATE = 64 * 2**20  # bytes; a base-size BERT's has about 0.2 MB
INT8_BITS = 8
DAMAGES = (zipfile.BadZipFile, zlib.error, RuntimeError)
"""What a damaged archive makes its reader raise; a locked file, or one of a newer version, is none of torch's."""


class _Box:
    """What a class in the pickle becomes: takes anything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take whatever the class would have been made of."""

    def __setstate__(self, _: Any) -> None:
        """Take whatever the object would have held."""


class _Reader(pickle.Unpickler):
    """An unpickler that knows plain values and boxes."""

    def find_class(self, module: str, name: str) -> type[_Box]:
        """Return a box for every class and function."""
        return _Box

    def persistent_load(self, pid: Any) -> _Box:
        """Return a box for a tensor."""
        return _Box()


def has_model_opt_names(quantizers: Iterable[str]) -> bool:
    """Say whether buffers are named as ModelOpt does: `input_quantizer._amax`, where older tools write an underscore.

    >>> has_model_opt_names(["a.input_quantizer._amax"]), has_model_opt_names(["a._input_quantizer._amax"])
    (True, False)
    """
    return any(name.endswith((".input_quantizer._amax", ".weight_quantizer._amax")) for name in quantizers)


def refuse_other_formats(folder: Path, remedy: str) -> None:
    """Refuse quantizers of another format than INT8. Raises `InputError` naming the first, or for a damaged file."""
    path = folder / STATE_FILE
    if not path.is_file():
        return
    for name, state in _states(path).items():
        bits, blocks = state.get("_num_bits"), state.get("_block_sizes")
        if not state.get("_disabled") and (bits != INT8_BITS or blocks):
            kind = f"{bits} bits" if isinstance(bits, int) else f"the floating-point format {bits}"
            raise InputError(
                f"{path}: the quantizer {name} has {kind}{' in blocks' if blocks else ''}, so its range is none of "
                f"INT8; {remedy}"
            )


def _states(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return each quantizer's settings by its name."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(name).file_size > MAX_STATE:
                raise ValueError("too large")
            content = _Reader(io.BytesIO(archive.read(name))).load()
        for _, part in content["modelopt_state_dict"]:
            found |= part["metadata"].get("quantizer_state", {})
        return {name: state for name, state in found.items() if isinstance(state, Mapping)}
    except (OSError, EOFError, StopIteration, pickle.UnpicklingError, *DAMAGES) as error:
        raise InputError(f"{path} is damaged; save the checkpoint again") from error
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, MemoryError) as error:
        raise InputError(f"{path} has no quantizers' settings ({error}); save the checkpoint again") from error
