"""Processes take turns at the GPUs that their parent sees; without several of them nothing changes."""

from __future__ import annotations

import os
from multiprocessing import Manager
from pathlib import Path
from typing import Any

import pytest

from bertc.core import own_gpu
from bertc.core.own_gpu import VISIBLE, take_own_gpu
from bertc.core.processes import open_processes


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("0,1", ["0", "1", "0"]),
        ("3, 1", ["3", "1", "3"]),
        ("GPU-8f,MIG-4c,2", ["GPU-8f", "MIG-4c", "2"]),
        ("5", ["5", "5", "5"]),
        ("", ["", "", ""]),  # none may be seen
    ],
)
def test_processes_take_turns_at_what_their_parent_sees(
    given: str, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in range(3):
        monkeypatch.setenv(VISIBLE, given)
        take_own_gpu(number)
        found.append(os.environ[VISIBLE])
    assert found == seen


@pytest.mark.parametrize(("gpus", "seen"), [(3, "2"), (2, "0"), (1, None), (0, None)])
def test_without_the_variable_the_driver_s_gpus_are_counted(
    gpus: int, seen: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VISIBLE, "")  # so that it is put back
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr(own_gpu, "DRIVER", tmp_path / "gpus")
    for number in range(gpus):
        (tmp_path / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    take_own_gpu(2)
    assert os.environ.get(VISIBLE) == seen


def gpu_of_process(barrier: Any) -> str | None:
    """Wait for the other process, so that each has one task."""
    barrier.wait(60)
    return os.environ.get(VISIBLE)


def test_every_process_of_a_job_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "7,4")
    with Manager() as manager, open_processes(2) as pool:
        barrier = manager.Barrier(2)
        assert {task.result() for task in [pool.submit(gpu_of_process, barrier) for _ in range(2)]} == {"7", "4"}
    assert os.environ[VISIBLE] == "7,4"
