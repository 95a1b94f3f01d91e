"""The versions of the libraries that an artefact's figures depend on."""

from __future__ import annotations

from importlib.metadata import version

LIBRARIES = ("onnxruntime", "onnx", "onnx_ir", "numpy", "tokenizers")


def library_versions() -> dict[str, str]:
    """Return name -> installed version."""
    return {name: version(name) for name in LIBRARIES}
