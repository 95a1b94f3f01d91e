"""The kernels' self-test, native/check/: on CPUs that this machine is not, under qemu-user, and with sanitizers.

It checks every instruction set of the CPU against plain C, prints their names, and returns 0 where all agree.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import pytest

from hatch_build import PLATFORMS, Platform, compile_commands, compiler_here, run
from tests.native.standin import ROOT

SOURCES = ROOT / "native"
NAMES = {name for each in PLATFORMS.values() for name in each.instruction_sets}
SANITIZE = (
    *("-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    # With these a file of kernels takes gcc seconds; without, ten minutes.
    *("-fno-var-tracking", "-fno-sanitize-address-use-after-scope"),
    *("--param", "asan-instrumentation-with-call-threshold=0"),
)
ALL, SANITIZED, FEW = 5, 5, 2
"""Rounds of random shapes: all once for each instruction set; fewer where sanitizers make every set slow; a few where
the program of a newer CPU is run on an older one, whose sets the newer one has run."""

OTHER_COMPILER = {"-O3": "-O1", "-Werror": "-Wno-psabi"}
"""Flags that are replaced for a compiler whose warnings are not known, and whose speed does not matter."""


def built_check(
    compiler: Sequence[str], built_for: Platform, folder: Path, replaced: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Compile the self-test with all that the library is made of."""
    commands = [
        [replaced.get(part, part) for part in command]
        for command in compile_commands(compiler, built_for, SOURCES, folder)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, commands))
    program = folder / "check"
    objects = [command[-1] for command in commands]
    sources = sorted(map(str, (SOURCES / "check").glob("*.c")))
    run([*compiler, "-std=c11", "-O2", *sources, *objects, "-o", str(program), "-lpthread", "-lm"])
    return program


def checked_sets(*command: str | Path | int) -> set[str]:
    """Run the self-test, which has to pass; return the instruction sets that it names."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return NAMES & set(re.findall(r"\w+", done.stdout))


@pytest.fixture(scope="module")
def checks() -> dict[str, Path]:
    """The self-test of each machine, once a test has built it; static, so that qemu needs no C library."""
    return {}


@pytest.mark.qemu
@pytest.mark.ziglang
@pytest.mark.xdist_group("qemu")
@pytest.mark.parametrize(
    "machine, cpu, rounds, sets",
    [
        ("x86_64", "Nehalem", FEW, {"plain"}),
        ("x86_64", "Haswell", ALL, {"plain", "avx2"}),
        ("aarch64", "cortex-a72", FEW, {"plain"}),
        ("aarch64", "neoverse-n1", FEW, {"plain", "dotprod"}),
        ("aarch64", "max", ALL, {"plain", "dotprod", "i8mm"}),
    ],
)
def test_the_kernels_agree_on_an_emulated_cpu(
    machine: str, cpu: str, rounds: int, sets: set[str], checks: dict[str, Path], tmp_path: Path
) -> None:
    qemu = shutil.which(f"qemu-{machine}")
    if qemu is None:
        pytest.skip(f"needs qemu-{machine}; on Debian: apt-get install qemu-user")
    if machine not in checks:
        target = f"{machine}-linux-musl"
        built_for = PLATFORMS[f"{machine}-linux"]._replace(zig=target)
        checks[machine] = built_check([*compiler_here(), "-target", target, "-static"], built_for, tmp_path)
    assert checked_sets(qemu, "-cpu", cpu, checks[machine], rounds) == sets


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags for Arm are written for zig")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    """With the system's compiler: zig brings no library of the address sanitizer."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    program = built_check([compiler, *SANITIZE], PLATFORMS["x86_64-linux"], tmp_path, OTHER_COMPILER)
    assert "plain" in checked_sets(program, SANITIZED)
