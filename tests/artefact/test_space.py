"""Too little space is said before anything is written, by the command too."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bertc.artefact.space import check_space
from bertc.errors import EnvironmentLackError
from tests.artefacts import Bertc


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    yield


def test_too_little_space_is_refused_and_enough_is_not(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    with pytest.raises(EnvironmentLackError, match=r"MB free and the build needs about [\d,.]+ MB; free some space"):
        check_space(tmp_path, usage.total * 10, "the build")
    check_space(tmp_path, 1, "the build")


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("target", ["ort-cpu-dynamic", "auto-cpu"])
def test_a_build_is_refused_in_one_line_and_writes_nothing(
    target: str, bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", target, *options)
    assert called.code == 3 and called.err.count("\n") == 1
    assert ".0 MB free and the build needs about" in called.err
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.usefixtures("full_disk")
def test_training_is_refused_in_one_line(bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path) -> None:
    pytest.importorskip("torch")
    called = bertc("finetune", classifier, "-o", tmp_path / "out", "--train-data", rows, "--no-cache", "-q")
    assert called.code == 3 and called.err.count("\n") == 1
    assert ".0 MB free and the run needs about" in called.err
    assert not (tmp_path / "out").exists()
