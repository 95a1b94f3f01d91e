"""Stages of a build: taken from the cache when unchanged, computed again when their entry cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertc.cache.stages import Stage, Work
from bertc.cache.store import StageCache
from bertc.core.progress import Progress, Silent
from bertc.errors import InputError


class Heard(Silent):
    """Remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def read_text(folder: Path) -> str:
    return (folder / "result").read_text()


def refuse(folder: Path) -> str:
    raise InputError("another format")


def write_text(text: str, folder: Path) -> None:
    (folder / "result").write_text(text)


def stage_of(answer: str, read: Callable[[Path], str] = read_text) -> Stage[[Any], str]:
    """Return a stage that answers always the same, whatever it takes."""

    def answered(progress: Progress, taken: Any) -> str:
        return answer

    return Stage(name="stage", function=answered, write=write_text, read=read)


def test_an_unchanged_stage_is_taken_from_the_cache(tmp_path: Path) -> None:
    heard = Heard()
    with StageCache(tmp_path / "cache", progress=heard) as cache:
        work = Work(cache, heard)
        for answer in ("first", "second"):
            assert work.kept(stage_of(answer), {"a": 1}) == "first"
    assert [time.cached for time in work.times] == [False, True]
    assert heard.notes == ["stage: unchanged, taken from the cache"]


def test_a_changed_stage_is_computed_again(tmp_path: Path) -> None:
    with StageCache(tmp_path / "cache") as cache:
        work = Work(cache, Silent())
        for number in (1, 2):
            assert work.kept(stage_of(str(number)), {"a": number}) == str(number)
    assert not any(time.cached for time in work.times)


def test_an_entry_that_cannot_be_read_is_computed_again_and_said(tmp_path: Path) -> None:
    heard = Heard()
    with StageCache(tmp_path / "cache", progress=heard) as cache:
        work = Work(cache, heard)
        work.kept(stage_of("old"), None)
        assert work.kept(stage_of("new", refuse), None) == "new"
    assert len(heard.notes) == 1 and "another format" in heard.notes[0]


def test_a_value_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Path has no cache key"):
        stage_of("").key(tmp_path)


def test_a_value_given_by_name_is_the_same_value() -> None:
    assert stage_of("").key({"a": 1}) == stage_of("").key(taken={"a": 1}) != stage_of("").key({"a": 2})


def test_another_library_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_of("").key(1)
    monkeypatch.setattr("bertc.cache.stages.library_versions", lambda: {"numpy": "0"})
    assert stage_of("").key(1) != before
