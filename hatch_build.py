"""Compiles native/*.c into the library of the native engine, while hatchling builds a wheel or an editable install.

The compiler is clang from the package `ziglang`, a requirement of the build alone (docs/decisions/0016-compiler.md). It
needs nothing installed, compiles for every platform from every platform, and links against an old glibc. The platform
is this machine's, or the one of `PLATFORMS` that the environment variable BERTC_TARGET names.

Where this machine has no library the wheel is a pure one: every other target works, and `bertc doctor` says what was
missing. A platform that was asked for by name is an error instead.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ONCE = ("batch.c", "cpu.c", "engine.c", "pool.c", "run.c")
PER_INSTRUCTION_SET = "isa.c"
"""Compiled once for each instruction set, which it knows as the macro ISA."""

FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
"""A product and a sum are rounded once only where the source says so: a text's answer then has the same bits in every
batch, and on every instruction set that has the fused operation."""

_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = ("-mfma", *(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "vnni")))
X86_64 = {
    "plain": (),
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-mavxvnni"),
    "avx512": _AVX512,
    "amx": (*_AVX512, "-mamx-tile", "-mamx-int8", "-mamx-bf16"),
}
AARCH64 = {  # in zig's spelling: it refuses -march=armv8.2-a+dotprod
    "plain": (),
    "dotprod": ("-mcpu=generic+v8_2a+dotprod",),
    "i8mm": ("-mcpu=generic+v8_6a+i8mm",),
}


class Platform(NamedTuple):
    """What a library is built for."""

    zig: str
    """As zig calls it, with the oldest system that it has to run on."""

    wheel: str
    """The platform tag of the wheel, which has to say the same."""

    library: str
    instruction_sets: Mapping[str, tuple[str, ...]]
    """Name -> the compiler's flags."""


_SO, _DYLIB, _DLL = "_library.so", "_library.dylib", "_library.dll"
PLATFORMS = {
    name: Platform(zig=zig, wheel=wheel, library=library, instruction_sets=sets)
    for name, zig, wheel, library, sets in (
        ("x86_64-linux", "x86_64-linux-gnu.2.28", "manylinux_2_28_x86_64", _SO, X86_64),
        ("aarch64-linux", "aarch64-linux-gnu.2.28", "manylinux_2_28_aarch64", _SO, AARCH64),
        ("x86_64-macos", "x86_64-macos.13.0", "macosx_13_0_x86_64", _DYLIB, X86_64),
        ("aarch64-macos", "aarch64-macos.13.0", "macosx_13_0_arm64", _DYLIB, AARCH64),
        ("x86_64-windows", "x86_64-windows-gnu", "win_amd64", _DLL, X86_64),
        ("aarch64-windows", "aarch64-windows-gnu", "win_arm64", _DLL, AARCH64),
    )
}
SYSTEMS = {"linux": "linux", "macosx": "macos", "win": "windows"}
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
"""As Python calls them -> as they are called here."""

FOLDER = "bertc/runtime/native"
REASON = "_library.missing"
"""Lies where the library would, and says why it does not."""


class NotBuiltError(Exception):
    """The library cannot be built; the text is the reason, for a user."""


def name_of_machine() -> str:
    """Return what the machine that this Python is for would be called in `PLATFORMS`."""
    here = sysconfig.get_platform()  # "win-amd64" for a Python that an Arm machine emulates
    system, _, machine = here.partition("-")
    if system == "macosx":  # "macosx-11.0-universal2" runs as either
        machine = platform.machine()
    return f"{MACHINES.get(machine.lower(), machine)}-{SYSTEMS.get(system, system)}"


def platform_from_name(name: str) -> Platform:
    """Look a platform up. Raises `NotBuiltError` for one that is not in `PLATFORMS`."""
    if name not in PLATFORMS:
        raise NotBuiltError(f"there is no native engine for {name}, only for {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def compiler_here() -> list[str]:
    """Return the command that compiles. Raises `NotBuiltError` where the package is missing."""
    if find_spec("ziglang") is None:
        raise NotBuiltError("the package ziglang, which compiles it, was not installed")
    return [sys.executable, "-m", "ziglang", "cc"]


def compile_commands(compiler: Sequence[str], built_for: Platform, sources: Path, objects: Path) -> list[list[str]]:
    """Return the commands, in any order, that write an object for each source, and one for each instruction set."""
    start = [*compiler, *FLAGS, "-c"]
    once = [[*start, str(sources / name), "-o", str(objects / f"{name}.o")] for name in ONCE]
    per_set = [
        [*start, *flags, f"-DISA={name}", str(sources / PER_INSTRUCTION_SET), "-o", str(objects / f"isa-{name}.o")]
        for name, flags in built_for.instruction_sets.items()
    ]
    return once + per_set


def link_command(compiler: Sequence[str], objects: Path, library: Path) -> list[str]:
    """Return the command that makes a library of all objects in a folder, without symbols for a debugger."""
    return [*compiler, "-shared", "-s", *sorted(map(str, objects.glob("*.o"))), "-o", str(library), "-lpthread", "-lm"]


def build_library(built_for: Platform, sources: Path, folder: Path) -> Path:
    """Compile the library into a folder and return its path. Raises `NotBuiltError` with what the compiler said."""
    compiler = [*compiler_here(), "-target", built_for.zig]
    library = folder / built_for.library
    with TemporaryDirectory() as temporary:
        objects = Path(temporary)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, compile_commands(compiler, built_for, sources, objects)))
        run(link_command(compiler, objects, library))
    return library


def run(command: Sequence[str]) -> None:
    """Run a command. Raises `NotBuiltError` with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuiltError(f"{' '.join(command)} failed: {done.stderr.strip()}")


class LibraryBuildHook(BuildHookInterface[Any]):
    """Adds the library to a wheel; for an editable install it goes into the source tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and give the wheel the platform's tag. It is for every Python 3: the interface is that of ctypes."""
        self.temporary = TemporaryDirectory()
        editable = version == "editable"
        folder = Path(self.root, FOLDER) if editable else Path(self.temporary.name)
        for stale in folder.glob("_library.*"):
            stale.unlink()
        file = self.file_built_into(folder, build_data)
        if not editable:
            build_data["force_include"][str(file)] = f"{FOLDER}/{file.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete what is in the wheel by now."""
        self.temporary.cleanup()

    def file_built_into(self, folder: Path, build_data: dict[str, Any]) -> Path:
        """Return the library, or the file with the reason why there is none."""
        asked = os.environ.get("BERTC_TARGET")
        try:
            built_for = platform_from_name(asked or name_of_machine())
            library = build_library(built_for, Path(self.root, "native"), folder)
        except NotBuiltError as error:
            if asked:
                raise
            self.app.display_warning(f"bertc is built without its native engine: {error}. Its other targets work.")
            reason = folder / REASON
            reason.write_text(f"{error}\n", encoding="utf-8")
            return reason
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{built_for.wheel}"
        return library
