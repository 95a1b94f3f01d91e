"""The library of the native engine, which hatch_build.py compiles where bertc is installed: where it is, or why not."""

from __future__ import annotations

import sys
from pathlib import Path

from bertc.errors import EnvironmentLackError

FOLDER = Path(__file__).parent
FILES = {"darwin": "_library.dylib", "win32": "_library.dll"}
REASON = "_library.missing"
REMEDY = (
    "install bertc again from its wheel for this machine, or from its sources with pip install, where pip may download "
    "the package ziglang"
)


def library_path() -> Path:
    """Return the library's file. Raises `EnvironmentLackError` where it was not built, with what was missing."""
    path = FOLDER / FILES.get(sys.platform, "_library.so")
    if path.is_file():
        return path
    reason = FOLDER / REASON
    told = f": {reason.read_text(encoding='utf-8').strip()}" if reason.is_file() else ""
    raise EnvironmentLackError(f"bertc was installed without its native engine{told}; {REMEDY}")


def check_library() -> None:
    """Raise `EnvironmentLackError` where the library was not built, without loading it."""
    library_path()
