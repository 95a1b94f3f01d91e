"""Artefacts that are not what was written, or are asked for what they cannot: exit code 2, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.endtoend.conftest import Bertc, Place, contents
from tests.fixtures import edit_json

Damage = Callable[[Path], None]


def change_byte(out: Path) -> None:
    content = bytearray((out / "native.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (out / "native.safetensors").write_bytes(content)


TAMPERED: dict[str, tuple[Damage, str]] = {
    "a changed byte": (change_byte, "native.safetensors"),
    "another plan": (lambda out: edit_json(out / "native.json", extra="x"), "native.json"),
    "another label": (lambda out: edit_json(out / "bertc.json", schema=1, extra="x"), "bertc.json"),
    "a missing file": (lambda out: (out / "tokenizer.json").unlink(), "tokenizer.json"),
    "an added file": (lambda out: (out / "custom.py").touch(), "custom.py"),
    "no manifest": (lambda out: (out / "manifest.json").unlink(), "manifest.json"),
    "a broken manifest": (lambda out: (out / "manifest.json").write_text("{"), "manifest"),
    "a rewritten report": (lambda out: edit_json(out / "report.json", passed=False), "report.json"),
}


@pytest.mark.parametrize("damage", TAMPERED)
def test_a_tampered_artefact_is_not_opened(
    bertc: Bertc, place: Place, artefact: Path, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(artefact, out)
    change, word = TAMPERED[damage]
    change(out)
    before = contents(out)
    for arguments in (
        ("predict", out, "--text", "good film"),
        ("validate", out, "--validation-data", place.dev),
        ("bench", out, "--shape", "1x8", "--rounds", "1"),
    ):
        called = bertc(*arguments)
        assert called.code == 2
        assert word in called.error
    assert contents(out) == before


def test_a_copied_artefact_is_opened(bertc: Bertc, artefact: Path, tmp_path: Path) -> None:
    shutil.copytree(artefact, tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("a model card")
    called = bertc("predict", tmp_path / "out", "--text", "good film")
    assert called.code == 0
    assert json.loads(called.out)["label"] in ("negative", "positive")


@pytest.mark.parametrize("what", ["a folder", "a checkpoint", "a file", "nothing"])
def test_what_is_no_artefact_is_not_opened(bertc: Bertc, place: Place, tmp_path: Path, what: str) -> None:
    path = {"a folder": tmp_path, "a checkpoint": place.checkpoint, "a file": place.dev}.get(what, tmp_path / "no")
    called = bertc("predict", path, "--text", "good film")
    assert called.code == 2
    assert str(path) in called.error


def test_a_hundred_thousand_threads_are_no_way_to_ask(bertc: Bertc, artefact: Path) -> None:
    called = bertc("predict", artefact, "--text", "good film", "--threads", "100000")
    assert called.code == 2
    assert "256" in called.error
    assert bertc("predict", artefact, "--text", "good film", "--threads", "2").code == 0


def test_rows_that_were_not_validated_on_are_refused_before_the_engine_runs(
    bertc: Bertc, place: Place, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("the engine ran over rows that are refused")

    monkeypatch.setattr("bertc.jobs.predict.Predictor.run_features", run)
    other = bertc("validate", artefact, "--validation-data", place.train)
    assert other.code == 2
    assert "24 of 24 rows" in other.error
    assert "--checkpoint" in other.error
    relabelled = tmp_path / "dev.tsv"
    relabelled.write_text(place.dev.read_text().replace("\tnegative", "\tpositive", 1))
    called = bertc("validate", artefact, "--validation-data", relabelled)
    assert called.code == 2
    assert "1 of 24 rows" in called.error
