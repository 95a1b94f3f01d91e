"""`bertc doctor` on machines with and without a GPU: what is there, what is missing, and what to do."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from bertc.cli.commands import doctor
from bertc.runtime.machine import gpu_needs
from bertc.runtime.machine.gpu import Driver, Gpu
from bertc.runtime.machine.gpu_needs import Need, fits, needs_of_targets
from bertc.runtime.native import library
from bertc.runtime.ort.cuda import PROVIDER
from tests.artefacts import Bertc

L4 = Gpu(name="NVIDIA L4", capability=89, memory_bytes=24 << 30)
GPU = Driver(cuda="13.0", gpus=(L4,), lack="")
OLD = Driver(cuda="12.4", gpus=(L4,), lack="")
NONE = Driver(cuda=None, gpus=(), lack="there is no NVIDIA driver (libcuda.so.1 is missing)")
NO_GPU = Driver(cuda="13.0", gpus=(), lack="the NVIDIA driver sees no GPU")
ALL = {"onnxruntime-gpu": "1.31.1", "tensorrt-cu13": "10.13.3.9", "cuda-bindings": "13.0.1"}
ALL |= {"torch": "2.11.0", "triton": "3.6.0"}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime have the CUDA provider, built for CUDA 13."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)


def needs_by_name(driver: Driver, versions: dict[str, str], target: str) -> dict[str, Need]:
    return {need.name: need for need in needs_of_targets(driver, versions.get)[target]}


def test_every_extra_is_named_with_its_package() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
    assert set(doctor.EXTRAS) == set(extras)
    for name, package in doctor.EXTRAS.items():
        assert any(re.match(rf"{package}\b", requirement) for requirement in extras[name])


@pytest.mark.parametrize("target", ["cuda", "ort-cuda", "tensorrt"])
def test_where_everything_is_there_every_need_is_met(target: str, provider: None) -> None:
    needs = needs_by_name(GPU, ALL, target)
    assert all(need.met for need in needs.values()), needs
    assert needs["GPU"].found == "NVIDIA L4" and needs["NVIDIA driver"].found == "for CUDA up to 13.0"


@pytest.mark.parametrize(
    "driver, versions, target, name, remedy",
    [
        (NONE, ALL, "tensorrt", "NVIDIA driver", "install NVIDIA's driver"),
        (NO_GPU, ALL, "tensorrt", "GPU", "sees no GPU"),
        (GPU, {}, "tensorrt", "tensorrt", "pip install 'tensorrt>=10.12,<12'"),
        (GPU, ALL | {"tensorrt": "8.6.1"}, "tensorrt", "tensorrt", "pip install 'tensorrt>=10.12,<12'"),
        (GPU, {"tensorrt": "11.0"}, "tensorrt", "cuda-bindings", "cuda-bindings>=12,<14"),
        (GPU, {"torch": "2.11.0"}, "cuda", "triton", "pip install 'triton>=3.4,<4'"),
        (GPU, ALL | {"torch": "2.5.1"}, "cuda", "torch", "pip install 'torch>=2.6,<3'"),
        (NO_GPU, ALL, "cuda", "GPU", "sees no GPU"),
        (GPU, {}, "ort-cuda", "onnxruntime-gpu", "onnxruntime-gpu>=1.24,<2"),
        (GPU, ALL | {"onnxruntime-gpu": "1.20.1"}, "ort-cuda", "onnxruntime-gpu", "onnxruntime-gpu>=1.24,<2"),
        (OLD, ALL, "ort-cuda", "CUDA provider", "the driver runs CUDA up to 12.4"),
    ],
)
def test_what_is_missing_or_of_the_wrong_version_has_a_remedy(
    driver: Driver, versions: dict[str, str], target: str, name: str, remedy: str, provider: None
) -> None:
    need = needs_by_name(driver, versions, target)[name]
    assert not need.met and remedy in need.remedy


def test_two_packages_with_the_same_files_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    both = needs_by_name(GPU, ALL | {"onnxruntime": "1.31.1"}, "ort-cuda")["CUDA provider"]
    assert both.found is None and "pip uninstall onnxruntime, then" in both.remedy
    alone = needs_by_name(GPU, ALL, "ort-cuda")["CUDA provider"]
    assert "uninstall" not in alone.remedy and "--force-reinstall" in alone.remedy


@pytest.mark.parametrize(
    "version, requirement, good",
    [
        ("10.12.0", "tensorrt>=10.12,<12", True),
        ("10.9", "tensorrt>=10.12,<12", False),
        ("12.0", "tensorrt>=10.12,<12", False),
        ("13", "cuda-bindings>=12,<14", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, requirement: str, good: bool) -> None:
    assert fits(version, requirement) == good


def test_a_machine_without_a_gpu_is_told_in_a_line(bertc: Bertc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.runtime.machine.gpu.driver_of_machine", lambda: NONE)
    called = bertc("doctor")
    assert called.code == 0 and "none: there is no NVIDIA driver" in called.out and "needs of" not in called.out


def test_a_machine_with_a_gpu_is_told_what_each_target_needs(
    bertc: Bertc, provider: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.runtime.machine.gpu.driver_of_machine", lambda: GPU)
    monkeypatch.setattr("bertc.runtime.ort.cuda.driver_of_machine", lambda: GPU)
    versions: dict[str, str] = {"onnxruntime-gpu": "1.31.1"}
    whole = needs_of_targets
    monkeypatch.setattr(gpu_needs, "needs_of_targets", lambda driver: whole(driver, versions.get))
    called = bertc("doctor")
    assert "NVIDIA L4, compute capability 8.9, 24.0 GiB" in called.out
    assert "tensorrt: missing -> pip install 'tensorrt>=10.12,<12'" in called.out
    assert "target ort-cuda" in called.out and "onnxruntime-gpu: onnxruntime-gpu 1.31.1;" in called.out
    facts: Any = bertc("doctor", "--json").json
    assert facts["gpu"]["gpus"] == [{"name": "NVIDIA L4", "capability": 8.9, "memory_bytes": 24 << 30}]
    assert [need["met"] for need in facts["gpu"]["needs"]["tensorrt"]] == [True, True, False, False]
    assert next(target for target in facts["targets"] if target["target"] == "ort-cuda")["runs"] is True


def test_a_native_engine_that_was_not_built_says_why(
    bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    (tmp_path / library.REASON).write_text("the package ziglang was not installed", encoding="utf-8")
    library.library.cache_clear()
    facts = bertc("doctor", "--json").json
    library.library.cache_clear()
    assert facts["native"] is None
    targets = {each["target"]: each for each in facts["targets"]}
    assert not targets["native"]["runs"] and targets["ort-cpu"]["runs"]
    assert "the package ziglang was not installed; install bertc again" in targets["native"]["reason"]


@pytest.mark.native
def test_the_kernels_of_the_native_engine_are_named(bertc: Bertc) -> None:
    sets = bertc("doctor", "--json").json["native"]
    assert isinstance(sets, list) and sets[-1] == "plain"
    assert re.search(rf"native kernels +{', '.join(sets)}\n", bertc("doctor").out)
