"""The library of the native engine, which hatch_build.py compiles where bertc is installed: its functions by ctypes.

The structs are those of native/bertc.h, field by field.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

from bertc.core.digest import digest_of_file
from bertc.errors import EnvironmentLackError
from bertc.runtime.plan.kernel_plan import ABI

FOLDER = Path(__file__).parent
FILES = {"darwin": "_library.dylib", "win32": "_library.dll"}
REASON = "_library.missing"
REMEDY = (
    "install bertc again from its wheel for this machine, or from its sources with pip install, where pip may download "
    "the package ziglang; or build for another target (--target ort-cpu)"
)


class CStep(Structure):
    """`struct bertc_step`."""

    _fields_ = (
        ("op", c_int32),
        ("rows", c_int32),
        ("inputs", c_int32 * 3),
        ("in_column", c_int32 * 3),
        ("in_zero", c_int32),
        ("out", c_int32),
        ("out_column", c_int32),
        ("out_codes", c_int32),
        ("out_zero", c_int32),
        ("residual", c_int32),
        ("residual_zero", c_int32),
        ("gated", c_int32),
        ("activation", c_int32),
        ("k", c_int32),
        ("n", c_int32),
        ("heads", c_int32),
        ("token", c_int32),
        ("last", c_int32),
        ("flag", c_int32),
        ("probs_high", c_int32),
        ("epsilon", c_float),
        ("scaling", c_float),
        ("scores_requant", c_float),
        ("probs_inverse", c_float),
        ("context_scale", c_float),
        ("numbers", c_int32 * 2),
        ("numbers_column", c_int32 * 2),
        ("distances", c_int32),
        ("segments", c_int32),
        ("segments_column", c_int32),
        ("near", c_int32),
        ("vocabulary", c_int32),
        ("positions", c_int32),
        ("types", c_int32),
        ("first_position", c_int32),
        ("weights", c_void_p),
        ("compensation", c_void_p),
        ("scale", c_void_p),
        ("requant", c_void_p),
        ("requant_scale", c_void_p),
        ("bias", c_void_p),
        ("residual_scale", c_void_p),
        ("inverse", c_void_p),
        ("gamma", c_void_p),
        ("beta", c_void_p),
        ("word", c_void_p),
        ("position", c_void_p),
        ("word_scale", c_void_p),
        ("position_scale", c_void_p),
        ("type", c_void_p),
        ("distance_bias", c_void_p),
        ("distance_key", c_void_p),
        ("distance_query", c_void_p),
        ("distance_row", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
    )


class CBuffer(Structure):
    """`struct bertc_buffer`."""

    _fields_ = (("type", c_int32), ("rows", c_int32), ("width", c_int32))


class COutput(Structure):
    """`struct bertc_output`."""

    _fields_ = (("buffer", c_int32), ("column", c_int32), ("columns", c_int32), ("per_token", c_int32))


class CPlan(Structure):
    """`struct bertc_plan`."""

    _fields_ = (
        ("steps", c_int32),
        ("buffers", c_int32),
        ("outputs", c_int32),
        ("step", POINTER(CStep)),
        ("buffer", POINTER(CBuffer)),
        ("output", POINTER(COutput)),
    )


class CBatch(Structure):
    """`struct bertc_batch`."""

    _fields_ = (("rows", c_int64), ("length", c_int64), ("ids", c_void_p), ("types", c_void_p), ("mask", c_void_p))


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


@cache
def digest_of_library() -> str:
    """Return the sha256 of the library's file. Raises `EnvironmentLackError` where it was not built."""
    return digest_of_file(library_path())


@cache
def library() -> ctypes.CDLL:
    """Load the library. Raises `EnvironmentLackError` where it is missing, or is another version's."""
    path = library_path()
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise EnvironmentLackError(f"{path} cannot be loaded ({error}); {REMEDY}") from error
    found.bertc_abi.restype = c_int
    if found.bertc_abi() != ABI:
        raise EnvironmentLackError(f"{path} is another version's native engine; {REMEDY}")
    found.bertc_instruction_sets.restype = c_char_p
    found.bertc_sparse.argtypes = [c_char_p]
    found.bertc_sparse.restype = c_int
    found.bertc_bf16.argtypes = [c_char_p]
    found.bertc_bf16.restype = c_int
    found.bertc_open.argtypes = [POINTER(CPlan), c_int, c_char_p]
    found.bertc_open.restype = c_void_p
    found.bertc_texts.argtypes = [POINTER(CBatch)]
    found.bertc_texts.restype = c_int64
    found.bertc_run.argtypes = [c_void_p, POINTER(CBatch), POINTER(c_void_p), c_void_p]
    found.bertc_run.restype = c_char_p
    found.bertc_close.argtypes = [c_void_p]
    found.bertc_close.restype = None
    return found


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that this CPU has kernels for, the best first."""
    names: bytes = library().bertc_instruction_sets()
    return tuple(names.decode("ascii").split())


def multiplies_sparse(instruction_set: str | None = None) -> bool:
    """Say whether an instruction set (None: the best of this CPU) has a kernel for weights that are 2:4."""
    return bool(library().bertc_sparse(None if instruction_set is None else instruction_set.encode("ascii")))


def multiplies_bf16() -> bool:
    """Say whether the best instruction set of this CPU is faster with products in BF16 than in float32."""
    return bool(library().bertc_bf16(None))
