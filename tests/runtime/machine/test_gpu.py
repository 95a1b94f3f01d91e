"""The driver, played: what it says, and every way in which it can be missing."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pytest

from bertc.runtime.machine import gpu
from bertc.runtime.machine.gpu import Driver, Gpu, driver_of_machine


class PlayedDriver:
    """Answers as libcuda does, through the pointers that it is given."""

    def __init__(self, *, start: int = 0, count: int = 1, version: int = 13010) -> None:
        self.start, self.count, self.version = start, count, version

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.start

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out: Any, number: int) -> int:  # noqa: N802
        out._obj.value = number
        return 0

    def cuDeviceGetName(self, out: Any, size: int, device: Any) -> int:  # noqa: N802
        out.value = f"NVIDIA L4 {device.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, device: Any) -> int:  # noqa: N802
        out._obj.value = 24 << 30
        return 0

    def cuDeviceGetAttribute(self, out: Any, attribute: int, device: Any) -> int:  # noqa: N802
        out._obj.value = {gpu.MAJOR: 8, gpu.MINOR: 9}[attribute]
        return 0


def play(monkeypatch: pytest.MonkeyPatch, driver: PlayedDriver | None) -> Driver:
    def load(name: str) -> PlayedDriver:
        assert name == gpu.LIBRARY
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    return driver_of_machine()


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = play(monkeypatch, PlayedDriver(count=2))
    assert found.cuda == "13.1" and found.lack == ""
    assert found.gpus[1] == Gpu(name="NVIDIA L4 1", capability=89, memory_bytes=24 << 30)


@pytest.mark.parametrize(
    "driver, cuda, lack",
    [
        (None, None, "there is no NVIDIA driver"),
        (PlayedDriver(start=100), "13.1", "sees no GPU"),
        (PlayedDriver(count=0), "13.1", "sees no GPU"),
        (PlayedDriver(start=803), "13.1", r"does not start \(CUDA error 803\)"),
    ],
)
def test_what_is_missing_is_said(
    driver: PlayedDriver | None, cuda: str | None, lack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = play(monkeypatch, driver)
    assert found.cuda == cuda and not found.gpus
    assert re.search(lack, found.lack)
