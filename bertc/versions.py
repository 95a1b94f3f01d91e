"""The versions of the libraries that an artefact's figures depend on."""

from __future__ import annotations

from importlib.metadata import version

LIBRARIES = ("onnxruntime", "onnx", "onnx_ir", "numpy", "tokenizers")


def library_versions(*more: str) -> dict[str, str]:
    """Return name -> installed version, of `more` libraries too (a target's own)."""
    return {name: version(name) for name in dict.fromkeys((*LIBRARIES, *more))}
