"""What the processor of this machine can do for INT8: its name, the instruction sets that matter, usable cores.

Reads the operating system's own tables; no benchmark, no third-party package. Unknown stays unknown.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bertc.core.keys import Key
from bertc.errors import InputError

INT8_FEATURES = frozenset(
    {
        *("sse4_1", "avx", "avx2", "fma", "f16c"),
        *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimddp", "i8mm", "sve", "sve2", "svei8mm"),
    }
)
"""Names, as Linux spells them, of the instruction sets that change how an INT8 engine runs; others are dropped."""

VNNI_FEATURES = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Any one of them multiplies u8 by s8 into 32 bits without saturating on the way."""

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})
"""Any one of them multiplies pairs of BF16 into FP32."""

MOST_THREADS = 256

# sysctl keys of macOS and what Linux calls the same instructions
_DARWIN = {
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
}
_CPUINFO = Path("/proc/cpuinfo")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """A processor as the operating system describes it.

    `features` is a subset of `INT8_FEATURES`; where `features_known` is false it is empty because nothing could be
    read, not because nothing is there. `cores` is what this process may use (affinity and container limit).
    """

    model: str
    features: frozenset[str]
    cores: int
    vendor: str = "unknown"
    machine: str = "unknown"
    features_known: bool = True

    @property
    def has_vnni(self) -> bool:
        """Whether a u8 x s8 product accumulates without saturating in 16 bits."""
        return bool(self.features & VNNI_FEATURES)

    @property
    def saturates(self) -> bool:
        """Whether this is x86 without VNNI: there u8 x s8 products are added in pairs of 16 bits."""
        return self.machine in ("x86_64", "AMD64") and self.features_known and not self.has_vnni

    def cache_key(self) -> Key:
        """Return what an engine's kernels are chosen by."""
        return [self.vendor, self.model, self.machine, sorted(self.features)]


def cpu_features(cpuinfo: Path = _CPUINFO) -> Cpu:
    """Describe this machine's processor. Never fails: what cannot be read is "unknown"."""
    if sys.platform == "darwin":
        return _cpu_from_sysctl(_sysctl(("machdep.cpu.brand_string", "machdep.cpu.vendor", *_DARWIN)))
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return _cpu_from_cpuinfo(text)


def usable_cores(cgroups: Path = _CGROUPS) -> int:
    """Count the cores this process may use: its affinity, cut to the container's quota rounded up. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_of_cgroups(cgroups)
    return max(cores if quota is None else min(cores, math.ceil(quota)), 1)


def _quota_of_cgroups(folder: Path) -> float | None:
    """Return the cores that the control groups allow, None where they set no limit.

    Version 2 has quota and period in one file, "max" for no limit; version 1 has a file of each and -1.
    """
    one = _texts(folder / "cpu.max")
    two = _texts(folder / "cpu" / "cpu.cfs_quota_us") + _texts(folder / "cpu" / "cpu.cfs_period_us")
    for texts in (one, two):
        try:
            quota, period = (int(text) for text in texts)
        except ValueError:
            continue  # no such file, or "max"
        if quota > 0 and period > 0:
            return quota / period
    return None


def _texts(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def thread_count(threads: int) -> int:
    """Return how many threads an engine gets; 0 means all usable cores. Raises `InputError` for an absurd number."""
    if threads > MOST_THREADS:
        raise InputError(f"{threads} threads are more than any processor has; give at most {MOST_THREADS}, or 0")
    return threads or usable_cores()


def threads_of_each(workers: int, threads: int) -> int:
    """Return how many threads each of several processes gets: those that were named, or else its share of the cores."""
    return threads or max(1, usable_cores() // workers)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this process on so many of its cores (0: all); nothing where the system cannot, as on macOS."""
    if not threads or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_from_cpuinfo(text: str) -> Cpu:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    words = fields.get("flags", fields.get("Features"))
    return Cpu(
        model=fields.get("model name") or platform.processor() or "unknown",
        vendor=fields.get("vendor_id") or fields.get("CPU implementer") or "unknown",
        machine=platform.machine() or "unknown",
        features=frozenset((words or "").split()) & INT8_FEATURES,
        features_known=words is not None,
        cores=usable_cores(),
    )


def _cpu_from_sysctl(values: Mapping[str, str]) -> Cpu:
    return Cpu(
        model=values.get("machdep.cpu.brand_string") or "unknown",
        vendor=values.get("machdep.cpu.vendor") or ("Apple" if platform.machine() == "arm64" else "unknown"),
        machine=platform.machine() or "unknown",
        features=frozenset(feature for key, feature in _DARWIN.items() if values.get(key) == "1"),
        features_known=any(key in values for key in _DARWIN),
        cores=usable_cores(),
    )


def _sysctl(keys: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for key in keys:
        try:
            answer = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=True)
        except (OSError, subprocess.SubprocessError):
            continue  # this macOS does not know the key
        values[key] = answer.stdout.strip()
    return values
