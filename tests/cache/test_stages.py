"""Stages of a build: taken from the cache when unchanged, computed again when their entry cannot be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertc.cache.stages import Stage, Work, peak_rss_mib
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
    assert [stage.cached for stage in work.times] == [False, True]
    assert heard.notes == ["stage: unchanged, taken from the cache"]


def test_a_changed_stage_is_computed_again(tmp_path: Path) -> None:
    with StageCache(tmp_path / "cache") as cache:
        work = Work(cache, Silent())
        for number in (1, 2):
            assert work.kept(stage_of(str(number)), {"a": number}) == str(number)
    assert not any(stage.cached for stage in work.times)


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


def test_parts_count_as_one_stage(tmp_path: Path) -> None:
    heard = Heard()
    with StageCache(tmp_path / "cache", progress=heard) as cache:
        work = Work(cache, heard)
        for numbers in ((1, 2), (1, 2), (1, 2, 3)):
            with work.kept_in_parts(stage_of("answer")) as part:
                assert [part(number) for number in numbers] == ["answer"] * len(numbers)
    assert [(stage.name, stage.cached) for stage in work.times] == [("stage", False), ("stage", True), ("stage", False)]
    assert heard.notes == [
        "stage: unchanged, taken from the cache", "stage: 2 of 3 parts unchanged, taken from the cache"
    ]  # fmt: skip


def test_a_part_that_fails_is_no_stage_that_ended(tmp_path: Path) -> None:
    def refused(progress: Progress, taken: Any) -> str:
        raise InputError("no")

    with StageCache(tmp_path / "cache") as cache:
        work = Work(cache, Silent())
        stage = Stage(name="stage", function=refused, write=write_text, read=read_text)
        with pytest.raises(InputError), work.kept_in_parts(stage) as part:
            part(1)
    assert not work.times


def test_a_stage_within_another_has_its_own_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(progress: Progress, taken: Any) -> str:
        clock[0] += 5
        return ""

    work = Work(StageCache(None), Silent())
    with work.timed("outer"):
        clock[0] += 2
        work.kept(Stage(name="inner", function=slow, write=write_text, read=read_text), None)
    inner, outer = work.times
    assert (inner.name, outer.name) == ("inner", "outer") and (inner.seconds, outer.seconds) == (5, 2)


def test_an_entry_that_was_read_is_free(tmp_path: Path) -> None:
    """Else a set of thousands of shards would hold as many locks, of which a process has a thousand."""
    with StageCache(tmp_path / "cache") as cache:
        work = Work(cache, Silent())
        with work.kept_in_parts(stage_of("answer")) as part:
            part(1)
            part(1)
        with StageCache(tmp_path / "cache", max_bytes=8) as small:
            Work(small, Silent()).kept(stage_of("other"), 2)
        assert cache.usage()[0] == 1, "the part went, though its reader lives"


def test_peak_memory_is_not_known_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no module `resource` there, without which stages could not even be imported."""
    here = peak_rss_mib()
    assert sys.platform == "win32" or (here is not None and 10 < here < 1 << 20)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_rss_mib() is None
