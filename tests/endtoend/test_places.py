"""Where an artefact may not be written: nothing is lost, one sentence says why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.endtoend.conftest import Bertc, Place, contents, names

Disk = Callable[[str], Path]


def test_out_is_a_file(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    called = bertc(*place.build(out))
    assert called.code == 2
    assert f"{out} is a file" in called.error
    assert out.read_text() == "mine"
    assert names(tmp_path) == {"out"}


def test_out_lies_below_a_file(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    called = bertc(*place.build(tmp_path / "file" / "out"))
    assert called.code == 2
    assert "a part of the path is a file" in called.error
    assert (tmp_path / "file").read_text() == "mine"


def test_out_holds_files_of_others(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    called = bertc(*place.build(out))
    assert called.code == 2
    assert "bertc did not write it" in called.error
    assert contents(tmp_path) == {"out/thesis.tex": b"mine"}


def test_an_artefact_with_an_added_file_is_not_replaced(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert bertc(*place.build(out)).code == 0
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    called = bertc(*place.build(out))
    assert called.code == 2
    assert "notes.txt" in called.error
    assert contents(out) == before
    (out / "notes.txt").unlink()
    assert bertc(*place.build(out)).code == 0


def test_an_empty_folder_is_filled(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert bertc(*place.build(tmp_path / "out")).code == 0


@pytest.mark.parametrize("name", ["with space", "-dash", "ünï", "'quote\"", "new\nline", "a" * 100])
def test_unusual_names_of_folders_work(bertc: Bertc, place: Place, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert bertc(*place.build(out)).code == 0
    assert bertc("predict", out, "--text", "good film").code == 0
    assert names(tmp_path) == {name}


def test_a_name_that_is_too_long(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    called = bertc(*place.build(tmp_path / ("a" * 300)))
    assert called.code == 2
    assert "name is too long" in called.error


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    called = bertc(*place.build(locked / "out"))
    assert called.code == 2
    assert "permission denied" in called.error


def test_a_read_only_disk(bertc: Bertc, place: Place, small_disk: Disk) -> None:
    disk = small_disk("size=4m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    called = bertc(*place.build(disk / "out"))
    assert called.code == 2
    assert "read-only" in called.error


@pytest.mark.parametrize("size", [16, 128, 256, 384, 512, 640])
def test_a_full_disk_is_left_as_it_was(bertc: Bertc, place: Place, small_disk: Disk, size: int) -> None:
    disk = small_disk(f"size={size}k")
    (disk / "room").write_bytes(b"")
    called = bertc(*place.build(disk / "out"))
    assert called.code == 3
    assert "the disk is full" in called.error or "free some space" in called.error
    assert names(disk) == {"room"}


def test_a_disk_that_fills_up_at_the_second_build(bertc: Bertc, place: Place, small_disk: Disk) -> None:
    disk = small_disk("size=8m")
    out = disk / "out"
    assert bertc(*place.build(out)).code == 0
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 400_000))
    before = contents(out)
    called = bertc(*place.build(out))
    assert called.code == 3
    assert "free some space" in called.error
    assert contents(out) == before
    assert names(disk) == {"out", "ballast"}
    (disk / "ballast").unlink()
    assert bertc(*place.build(out)).code == 0


def test_a_full_cache_is_a_note_and_no_failure(bertc: Bertc, place: Place, small_disk: Disk, tmp_path: Path) -> None:
    disk = small_disk("size=40k")
    arguments = [argument for argument in place.build(tmp_path / "out") if argument != "--no-cache"]
    called = bertc(*arguments, "--cache-dir", disk)
    assert called.code == 0
    assert not called.err
