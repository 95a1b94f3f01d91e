"""Where torch, Triton or a GPU is missing, one sentence says so and what to do."""

from __future__ import annotations

import pytest

from bertc.errors import EnvironmentLackError
from bertc.runtime.cuda import library
from bertc.runtime.cuda.library import build_here, check_here
from bertc.runtime.machine.gpu import Driver, Gpu

L4 = Gpu(name="NVIDIA L4", capability=89, memory_bytes=24 << 30)
V100 = Gpu(name="Tesla V100", capability=70, memory_bytes=16 << 30)
A100 = Gpu(name="NVIDIA A100", capability=80, memory_bytes=40 << 30)
NONE = Driver(cuda=None, gpus=(), lack="there is no NVIDIA driver (libcuda.so.1 is missing)")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Both packages, and no interpreter."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(library, "find_spec", lambda name: name)
    monkeypatch.setattr(library, "version", {"triton": "3.6.0", "numpy": "2.3.5"}.__getitem__)
    return monkeypatch


def play(patch: pytest.MonkeyPatch, driver: Driver) -> None:
    patch.setattr(library, "driver_of_machine", lambda: driver)


@pytest.mark.parametrize("package, name", [("torch", "torch"), ("triton", "Triton")])
def test_a_missing_package_names_the_extra(package: str, name: str, installed: pytest.MonkeyPatch) -> None:
    installed.setattr(library, "find_spec", lambda each: None if each == package else each)
    for interpreter in ("0", "1"):
        installed.setenv("TRITON_INTERPRET", interpreter)
        with pytest.raises(EnvironmentLackError, match=rf"^{name} is not installed, .*bertc\[cuda-native\]"):
            check_here("int8")


@pytest.mark.parametrize(
    "driver, precision, told",
    [
        (NONE, "int8", r"have no GPU: there is no NVIDIA driver .*--target native"),
        (Driver(cuda="13.0", gpus=(V100,), lack=""), "int8", r"V100 has compute capability 7\.0, .* need 8\.0 or more"),
        (Driver(cuda="13.0", gpus=(A100,), lack=""), "fp8", r"A100 has compute capability 8\.0, .* need 8\.9 or more"),
    ],
)
def test_a_gpu_that_is_missing_or_too_old(
    driver: Driver, precision: str, told: str, installed: pytest.MonkeyPatch
) -> None:
    play(installed, driver)
    with pytest.raises(EnvironmentLackError, match=told):
        check_here(precision)
    installed.setenv("TRITON_INTERPRET", "1")
    check_here(precision)


@pytest.mark.parametrize("sees", [False, True])
def test_a_torch_without_cuda_is_told(sees: bool, installed: pytest.MonkeyPatch) -> None:
    play(installed, Driver(cuda="13.0", gpus=(L4,), lack=""))
    installed.setattr("torch.cuda.is_available", lambda: sees)
    if sees:
        check_here("fp8")
    else:
        with pytest.raises(EnvironmentLackError, match=r"sees no GPU, though the driver does; .* up to 13\.0"):
            check_here("fp8")


@pytest.mark.parametrize("triton, numpy, good", [("3.6.0", "2.4.6", False), ("3.7.0", "2.4.6", True)])
def test_an_interpreter_that_fails_with_this_numpy_is_refused(
    triton: str, numpy: str, good: bool, installed: pytest.MonkeyPatch
) -> None:
    installed.setenv("TRITON_INTERPRET", "1")
    installed.setattr(library, "version", {"triton": triton, "numpy": numpy}.__getitem__)
    if good:
        check_here("int8")
    else:
        with pytest.raises(EnvironmentLackError, match=r"install triton>=3\.7 or numpy<2\.4"):
            check_here("int8")


def test_answers_are_bound_to_the_gpu_and_triton(installed: pytest.MonkeyPatch) -> None:
    play(installed, Driver(cuda="13.0", gpus=(L4,), lack=""))
    assert build_here() == "NVIDIA L4 triton 3.6.0"
    play(installed, NONE)
    assert build_here() == ""
    installed.setenv("TRITON_INTERPRET", "1")
    assert build_here() == "triton 3.6.0 interpreter"
