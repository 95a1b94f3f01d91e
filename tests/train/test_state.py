"""The state of a run that its disk does not take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bertc.errors import EnvironmentLackError, InputError
from bertc.train.state import STATE_FILE, StateFolder

STATE = {"weights": torch.zeros(100_000)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_the_environment_s_and_leaves_the_state_of_before(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, {"recipe": "a"})
    folder.save({"step": 1})
    (tmp_path / f"{STATE_FILE}.new").symlink_to("/dev/full")
    with pytest.raises(EnvironmentLackError, match=f"{STATE_FILE}: the disk is full; free some space"):
        folder.save(STATE)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE] and folder.load() == {"step": 1}


def test_a_place_that_takes_no_files_is_the_user_s(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the state of the run cannot be written"):
        StateFolder(tmp_path / "file" / "folder", {}).save(STATE)
