"""Folders that are full or read-only, as far as this user may make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
