"""Stages of a build: taken from the cache when unchanged, computed again when their entry cannot be read."""

from __future__ import annotations

from pathlib import Path

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.errors import InputError
from bertc.features import Silent


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


def test_an_unchanged_stage_is_taken_from_the_cache(tmp_path: Path) -> None:
    heard = Heard()
    with StageCache(tmp_path / "cache", progress=heard) as cache:
        stages = Stages(cache, heard)
        for answer in ("first", "second"):
            found = stages.kept(
                "stage", {"a": 1}, compute=lambda answer=answer: answer, write=write_text, read=read_text
            )
            assert found == "first"
    assert [time.cached for time in stages.times] == [False, True]
    assert heard.notes == ["stage: unchanged, taken from the cache"]


def test_a_changed_stage_is_computed_again(tmp_path: Path) -> None:
    with StageCache(tmp_path / "cache") as cache:
        stages = Stages(cache, Silent())
        for number in (1, 2):
            found = stages.kept(
                "stage", {"a": number}, compute=lambda n=number: str(n), write=write_text, read=read_text
            )
            assert found == str(number)
    assert not any(time.cached for time in stages.times)


def test_an_entry_that_cannot_be_read_is_computed_again_and_said(tmp_path: Path) -> None:
    heard = Heard()
    with StageCache(tmp_path / "cache", progress=heard) as cache:
        stages = Stages(cache, heard)
        stages.kept("stage", {}, compute=lambda: "old", write=write_text, read=read_text)
        assert stages.kept("stage", {}, compute=lambda: "new", write=write_text, read=refuse) == "new"
    assert len(heard.notes) == 1 and "another format" in heard.notes[0]
