"""The fastest way is measured once for a GPU and kept; a file that is damaged is measured and written anew."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

from bertc.runtime.cuda import tuning
from bertc.runtime.cuda.tuning import Tuner, Way

WAYS: list[Way] = [{"BLOCK_M": 16}, {"BLOCK_M": 32}, {"BLOCK_M": 64}]
TIMES = {16: 3.0, 32: 1.0, 64: float("inf")}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A GPU that is only played: the blocks that were measured, in order."""
    measured: list[int] = []

    def milliseconds(launch: Any, way: Way) -> float:
        measured.append(way["BLOCK_M"])
        return TIMES[way["BLOCK_M"]]

    monkeypatch.setattr(tuning, "interpreted", lambda: False)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA L4")
    monkeypatch.setattr(tuning, "milliseconds", milliseconds)
    return measured


def launch(way: Way) -> None:
    raise AssertionError("it is measured")


def test_the_fastest_is_kept_for_the_next_process(gpu: list[int], tmp_path: Path) -> None:
    path = tmp_path / "cache" / "tuning.json"
    tuner = Tuner(path)
    assert tuner.way("gemm", WAYS, launch) == tuner.way("gemm", WAYS, launch) == WAYS[1]
    assert gpu == [16, 32, 64] and tuner.chosen == {"gemm": WAYS[1]}
    assert Tuner(path).way("gemm", WAYS, launch) == WAYS[1] and len(gpu) == 3
    assert [each.name for each in path.parent.iterdir()] == ["tuning.json"]


def test_another_gpu_is_measured_and_both_are_kept(
    gpu: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tuning.json"
    Tuner(path).way("gemm", WAYS, launch)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA H100")
    assert Tuner(path).way("gemm", WAYS[:1] + WAYS[2:], launch) == WAYS[0]
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [name.split(" triton")[0] for name in kept] == ["NVIDIA H100", "NVIDIA L4"] and len(gpu) == 5


def test_two_engines_do_not_forget_each_other_s(gpu: list[int], tmp_path: Path) -> None:
    first, second = Tuner(tmp_path / "tuning.json"), Tuner(tmp_path / "tuning.json")
    first.way("one", WAYS, launch)
    second.way("two", WAYS, launch)
    assert set(Tuner(tmp_path / "tuning.json").chosen) == {"one", "two"}


def test_a_way_that_is_no_longer_offered_is_not_taken(gpu: list[int], tmp_path: Path) -> None:
    Tuner(tmp_path / "tuning.json").way("gemm", WAYS, launch)
    others: list[Way] = [{"BLOCK_M": 16}, {"BLOCK_M": 64}]
    assert Tuner(tmp_path / "tuning.json").way("gemm", others, launch) == others[0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"NVIDIA L4 triton": 3}', "\x00"])
def test_a_damaged_file_is_measured_and_written_anew(content: str, gpu: list[int], tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(content, encoding="utf-8")
    assert Tuner(path).way("gemm", WAYS, launch) == WAYS[1] and gpu
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 1


def test_a_folder_that_cannot_be_written_keeps_nothing(gpu: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tuner = Tuner(tmp_path / "file" / "tuning.json")
    assert tuner.way("gemm", WAYS, launch) == WAYS[1] == tuner.way("gemm", WAYS, launch)
    assert len(gpu) == 3


def test_an_engine_that_keeps_what_it_learned_while_another_does_goes_on_keeping(
    gpu: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tuning.json"
    first, second, replace = Tuner(path), Tuner(path), Path.replace

    def replace_behind_the_other(work: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        second.way("two", WAYS, launch)
        return replace(work, target)

    monkeypatch.setattr(Path, "replace", replace_behind_the_other)
    first.way("one", WAYS, launch)
    first.way("three", WAYS, launch)
    assert {"one", "three"} <= set(Tuner(path).chosen)


def test_a_full_disk_keeps_nothing_and_nothing_half(
    gpu: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(work: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "replace", fail)
    assert Tuner(tmp_path / "tuning.json").way("gemm", WAYS, launch) == WAYS[1]
    assert not [*tmp_path.iterdir()]


def test_without_a_file_nothing_is_kept(gpu: list[int]) -> None:
    assert Tuner(None).way("gemm", WAYS, launch) == WAYS[1]
    assert Tuner(None).chosen == {}


def test_one_way_and_the_interpreter_measure_nothing(gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tuner(None).way("gemm", WAYS[:1], launch) == WAYS[0]
    monkeypatch.setattr(tuning, "interpreted", lambda: True)
    assert Tuner(None).way("gemm", WAYS, launch) == WAYS[0] and not gpu
