"""What a target for NVIDIA GPUs needs of a machine, part by part: what is there, and what to do where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bertc.runtime.cuda import library as cuda
from bertc.runtime.machine.gpu import Driver
from bertc.runtime.ort import cuda as ort_cuda
from bertc.runtime.tensorrt import library as tensorrt

TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
"""TensorRT's Python package under the names by which it can be installed."""

Version = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that a target needs: its name, what is there (None: nothing), and what to do if that will not do."""

    name: str
    found: str | None
    remedy: str = ""

    @property
    def met(self) -> bool:
        """Whether what is there will do."""
        return not self.remedy


def installed_version(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def needs_of_targets(driver: Driver, version_of: Version = installed_version) -> Mapping[str, tuple[Need, ...]]:
    """Return the needs of each target for GPUs, by the target's name."""
    return {
        "cuda": (
            *_driver_needs(driver),
            *(_package_need(each, (re.split("[>=]", each)[0],), version_of) for each in cuda.REQUIREMENTS),
        ),
        "ort-cuda": (*_driver_needs(driver), *_ort_needs(driver, version_of)),
        "tensorrt": (
            *_driver_needs(driver),
            _package_need(tensorrt.REQUIREMENTS[0], TENSORRT_PACKAGES, version_of),
            _package_need(tensorrt.REQUIREMENTS[1], ("cuda-bindings",), version_of),
        ),
    }


def fits(found: str, requirement: str) -> bool:
    """Whether a version is in a range of major and minor numbers.

    >>> fits("10.13.3.9", "tensorrt>=10.12,<12"), fits("12.0", "tensorrt>=10.12,<12")
    (True, False)
    """
    numbers = _numbers(found)
    return all(
        numbers >= _numbers(border) if sign == ">=" else numbers < _numbers(border)
        for sign, border in re.findall(r"(>=|<)([\d.]+)", requirement)
    )


def _numbers(text: str) -> tuple[int, int]:
    major, minor = [*re.findall(r"\d+", text)[:2], "0", "0"][:2]
    return int(major), int(minor)


def _driver_needs(driver: Driver) -> tuple[Need, ...]:
    names = ", ".join(gpu.name for gpu in driver.gpus) or None
    lacks_driver = driver.cuda is None
    return (
        Need(
            name="NVIDIA driver",
            found=None if lacks_driver else f"for CUDA up to {driver.cuda}",
            remedy="install NVIDIA's driver" if lacks_driver else "",
        ),
        Need(name="GPU", found=names, remedy="" if names else f"{driver.lack}; see nvidia-smi"),
    )


def _package_need(requirement: str, packages: tuple[str, ...], version_of: Version) -> Need:
    found = next((f"{name} {known}" for name in packages if (known := version_of(name))), None)
    good = found is not None and fits(found.split()[1], requirement)
    return Need(name=packages[0], found=found, remedy="" if good else f"pip install '{requirement}'")


def _ort_needs(driver: Driver, version_of: Version) -> tuple[Need, ...]:
    package = _package_need(ort_cuda.REQUIREMENT, ("onnxruntime-gpu",), version_of)
    found = ort_cuda.installed_onnxruntime()
    remedy = ""
    if not found.has_cuda:
        install = f"pip install --force-reinstall '{ort_cuda.REQUIREMENT}'"
        # Both packages have the same files, and the one that was installed last won.
        remedy = f"pip uninstall onnxruntime, then {install}" if version_of("onnxruntime") else install
    provider = Need(
        name="CUDA provider",
        found=f"in onnxruntime {found.version}" + (f", built for CUDA {found.cuda}" if found.cuda else "")
        if found.has_cuda
        else None,
        remedy=remedy,
    )
    if found.has_cuda and found.cuda and driver.cuda is not None and _numbers(driver.cuda)[0] < _numbers(found.cuda)[0]:
        newer = f"the driver runs CUDA up to {driver.cuda}: update it, or install an onnxruntime-gpu for that CUDA"
        return (package, Need(name=provider.name, found=provider.found, remedy=newer))
    return (package, provider)
