"""The version of bertc, and those of the libraries that an artefact's figures depend on."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

__version__ = "0.4.0"

LIBRARIES = ("onnxruntime", "onnx", "onnx_ir", "numpy", "tokenizers")


def library_versions(*more: str) -> dict[str, str]:
    """Return name -> installed version, of `more` libraries too (a target's own)."""
    return {name: _version(name) for name in dict.fromkeys((*LIBRARIES, *more))}


def _version(name: str) -> str:
    """Ask the package, or the module where the package has another name (tensorrt is also tensorrt-cu12)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return str(import_module(name).__version__)
