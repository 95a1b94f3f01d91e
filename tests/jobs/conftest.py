"""Fixtures of several jobs' tests: a hub that plays the Hugging Face one, and an artefact to push there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import tiny_sentence, write_tiny_bert
from tests.hub_double import TOKEN, Hub, running_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the library is led to, with nothing of the user's own, and without its pauses."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with running_hub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact that passed, of two engines' worth of files: its model is large for the hub."""
    from bertc.cli.main import run

    folder = tmp_path_factory.mktemp("push")
    write_tiny_bert(folder / "model", positions=64)
    for name, seeds in (("train", range(20)), ("dev", range(20, 50))):
        rows = [f"{tiny_sentence(seed, 6)}\t{('negative', 'positive')[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    data = ["--calibration-data", folder / "train.tsv", "--validation-data", folder / "dev.tsv", "--any-reference"]
    words = ["build", folder / "model", "-o", folder / "out", "--target", "ort-cpu", "--max-drop", "1abs", *data, "-q"]
    assert run([str(word) for word in words]) == 0
    return folder / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy of this test's own."""
    return Path(shutil.copytree(built, tmp_path / "out"))
