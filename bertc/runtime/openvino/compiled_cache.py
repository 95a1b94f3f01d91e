"""Compiled OpenVINO models in a folder of the user's, so that opening one again takes a fraction of compiling it.

OpenVINO's own cache (`CACHE_DIR`) takes a file whose weights were damaged on the disk without a word. Here the bytes
carry their sha256, and the name says what they were made from: the model's files, OpenVINO's version, the CPU and the
options.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertc.core.digest import digest_of_file
from bertc.errors import EnvironmentLackError

DIGEST_BYTES = 32


def compiled_from_cache(
    core: Any, model: Path, options: Mapping[str, Any], folder: Path, compile_model: Callable[[], Any]
) -> Any:
    """Return the compiled model from the folder; one that is not there, or damaged, is compiled and put there.

    Raises `EnvironmentLackError` when the folder cannot be written.
    """
    path = folder / f"{_key(core, model, options)}.blob"
    stored = _read(path)
    if stored is not None:
        return core.import_model(stored, "CPU", dict(options))
    compiled = compile_model()
    # Not every version of OpenVINO gives bytes: a stream has them inside.
    exported = compiled.export_model()
    _write(path, exported if isinstance(exported, bytes) else exported.getvalue())
    return compiled


def _key(core: Any, model: Path, options: Mapping[str, Any]) -> str:
    """Return what the compiled model depends on, as a file name."""
    import openvino

    facts = {
        "files": [digest_of_file(path) for path in (model, model.with_suffix(".bin"))],
        "openvino": openvino.__version__,
        "cpu": str(core.get_property("CPU", "FULL_DEVICE_NAME")),
        "capabilities": sorted(map(str, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))),
        "options": dict(options),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    """Return a compiled model's bytes, or None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, stored = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return stored if hashlib.sha256(stored).digest() == digest else None


def _write(path: Path, content: bytes) -> None:
    """Put a compiled model there, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".blob-", delete=False) as file:
            try:
                file.write(hashlib.sha256(content).digest() + content)
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise EnvironmentLackError(
            f"{path.parent} cannot keep the compiled model ({error.strerror}); choose another folder for the cache, or "
            "open the artefact without one"
        ) from error
