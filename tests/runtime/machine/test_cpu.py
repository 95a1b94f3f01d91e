"""The processor's features come from the operating system's tables; what cannot be read is unknown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bertc.runtime.machine import cpu
from bertc.runtime.machine.cpu import INT8_FEATURES, cpu_features, usable_cores

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no cpuinfo")

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse4_1 avx2 avx512f avx512_vnni avx_vnni amx_int8 hypervisor

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\n"


def test_an_x86(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    found = cpu_features(tmp_path / "cpuinfo")
    assert found.model == "Intel(R) Xeon(R) Platinum 8481C" and found.vendor == "GenuineIntel"
    assert found.features == {"sse4_1", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}
    assert found.has_vnni and found.features_known


def test_an_arm_and_one_without_vnni(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    found = cpu_features(tmp_path / "cpuinfo")
    assert found.features == {"asimd", "asimddp", "i8mm"} and not found.has_vnni


def test_nothing_to_read_is_unknown_not_absent(tmp_path: Path) -> None:
    found = cpu_features(tmp_path / "absent")
    assert found.features == frozenset() and not found.features_known and found.cores >= 1


def test_this_machine() -> None:
    found = cpu_features()
    assert found.features <= INT8_FEATURES and found.cores >= 1


def test_sysctl_of_macos() -> None:
    found = cpu._cpu_from_sysctl(
        {"machdep.cpu.brand_string": "Apple M3", "hw.optional.arm.FEAT_DotProd": "1", "hw.optional.arm.FEAT_I8MM": "0"}
    )
    assert found.model == "Apple M3" and found.features == {"asimddp"} and found.features_known
    assert not cpu._cpu_from_sysctl({}).features_known


@pytest.mark.parametrize(
    ("limit", "cores"), [("50000 100000", 1), ("max 100000", None), ("", None), ("150000 0", None)]
)
def test_a_containers_limit_counts(tmp_path: Path, limit: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    free = usable_cores(tmp_path / "absent")
    assert usable_cores(tmp_path) == (cores or free)


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("50000", "100000", 1),
        ("150000", "100000", 2),
        ("300000", "100000", 3),
        ("-1", "100000", 8),
        ("150000", "0", 8),
        ("", "", 8),
    ],
)
def test_a_limit_of_the_first_control_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, period: str, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "cpu").mkdir()
    assert usable_cores(tmp_path) == 8
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")
    assert usable_cores(tmp_path) == cores
