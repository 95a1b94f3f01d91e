"""Where the native engine's library is looked for, and what is said where it was not built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bertc.errors import EnvironmentLackError
from bertc.runtime.native import library
from bertc.runtime.native.library import check_library, library_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as that of the library."""
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "system, name", [("linux", "_library.so"), ("darwin", "_library.dylib"), ("win32", "_library.dll")]
)
def test_the_library_has_the_system_s_name(
    system: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    (folder / name).touch()
    check_library()
    assert library_path() == folder / name


def test_without_it_the_reason_and_the_remedy_are_told(folder: Path) -> None:
    (folder / library.REASON).write_text("the package ziglang was not installed\n", encoding="utf-8")
    with pytest.raises(EnvironmentLackError, match=r"native engine: the package ziglang was .*; install bertc again"):
        check_library()


def test_a_tree_that_was_never_installed_has_no_reason(folder: Path) -> None:
    with pytest.raises(EnvironmentLackError, match=r"without its native engine; install bertc again"):
        library_path()
