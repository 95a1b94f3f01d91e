"""Locks: who excludes whom is shown by the builds that hold them; here what a folder refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.cache.lock import build_lock, try_lock


def test_a_folder_that_takes_no_files_is_no_other_build(tmp_path: Path) -> None:
    path = tmp_path / "gone" / ".lock"
    with pytest.raises(FileNotFoundError), build_lock(path, out=tmp_path / "out"):
        pass
    assert try_lock(path) is None
    path.parent.mkdir()
    with build_lock(path, out=tmp_path / "out"):
        assert path.exists()
    assert not path.exists()
