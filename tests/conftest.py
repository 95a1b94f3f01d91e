"""Fixtures that several rooms share: a tiny model of each task, and the real checkpoints and data."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bertc.errors import EnvironmentLackError
from bertc.runtime import latency
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.native.library import check_library
from tests.artefacts import (  # noqa: F401  # fixtures
    artefact,
    artefact_of,
    bertc,
    checkpoint_of,
    classifier,
    data,
    data_of,
    ort_artefact,
    ort_artefact_of,
    rows,
)
from tests.ort_cuda_double import play  # noqa: F401  # a fixture
from tests.tensorrt_tiny import install, wide  # noqa: F401  # fixtures
from tests.tiny import TinyModel, tiny_model

TinyOf = Callable[[str], TinyModel]

if find_spec("triton") is not None and not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # without a GPU; before anything imports Triton


@pytest.fixture(scope="session")
def shared_path() -> Path:
    """The folder of real checkpoints and data sets beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real checkpoints and data)")
    return folder


PAUSES = {name: getattr(latency, name) for name in ("SECONDS_BETWEEN", "SECONDS_PER_ROUND")}
"""What makes engines' times comparable, and every build of a tiny model seconds longer."""


@pytest.fixture(scope="session", autouse=True)
def _no_pauses() -> Iterator[None]:
    """Time engines once a round and without a pause, where nobody reads the times."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PAUSES:
            patch.setattr(latency, name, 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Let SIGINT reach the tests and what they start, as on a terminal: a shell's background job begins by ignoring it.

    Processes take over a signal that is ignored, and none that has a handler.
    """
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _pauses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time engines as a user's build does in tests of real checkpoints, and in those that measure."""
    if any(request.node.get_closest_marker(name) for name in ("serial", "shared")):
        for name, seconds in PAUSES.items():
            monkeypatch.setattr(latency, name, seconds)


@pytest.fixture(autouse=True)
def _native_library(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `native` where the library was not built."""
    if request.node.get_closest_marker("native"):
        try:
            check_library()
        except EnvironmentLackError as lack:
            pytest.skip(str(lack))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what has the target `openvino` as a parameter on a CPU where that is refused."""
    if not cpu_features().saturates:
        return
    for item in items:
        case = getattr(item, "callspec", None)
        if case is not None and any(isinstance(each, str) and each == "openvino" for each in case.params.values()):
            item.add_marker(pytest.mark.skip(reason="needs a CPU with VNNI"))


@pytest.fixture
def openvino_int8() -> None:
    """Skip where OpenVINO is missing, or this CPU cannot run its INT8 exactly."""
    pytest.importorskip("openvino", reason="needs the extra openvino")
    if cpu_features().saturates:
        pytest.skip("needs a CPU with VNNI")


@pytest.fixture(autouse=True)
def _ray(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `ray` where Ray is not installed."""
    if request.node.get_closest_marker("ray") and find_spec("ray") is None:
        pytest.skip("needs the extra ray")


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory: pytest.TempPathFactory) -> TinyOf:
    """Give a function that makes the tiny model of a task once: read only."""
    made: dict[str, TinyModel] = {}

    def of(task: str) -> TinyModel:
        if task not in made:
            made[task] = tiny_model(tmp_path_factory.mktemp(task), task=task)
        return made[task]

    return of


@pytest.fixture(scope="session")
def tiny_classifier(tiny_of: TinyOf) -> TinyModel:
    """A calibrated random BERT with two layers and two labels."""
    return tiny_of("sequence-classification")


MountTmpfs = Callable[[Path, str], None]


@pytest.fixture
def mount_tmpfs() -> Iterator[MountTmpfs]:
    """Give a function that mounts (or remounts) a tmpfs with options on a folder; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> None:
        try:
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("this user may not mount a tmpfs")
        mounted.append(folder)

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", str(folder)], check=False, capture_output=True, timeout=10)


@pytest.fixture
def readonly(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give an empty folder nobody can write into: by permissions, or for root by a read-only mount."""
    folder = tmp_path / "readonly"
    folder.mkdir()
    if os.geteuid() == 0:
        request.getfixturevalue("mount_tmpfs")(folder, "ro,size=1m")
        yield folder
        return
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
