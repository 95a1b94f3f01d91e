"""The command line as a user meets it, with tiny checkpoints, data of every task, and disks that refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bertc.cli.main import run
from tests.fixtures import tiny_sentence, write_tiny_bert

ROWS = 24
POSITIONS = 64
TEXTS = tuple(tiny_sentence(seed, 4 + seed % 9) for seed in range(2 * ROWS))
ANY_DROP = ("--max-drop", "2abs")
"""A gate that a random model passes whatever quantization does to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, which has to be an error's and no traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        assert not self.out, self.out
        return lines[0]


Bertc = Callable[..., Called]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Bertc:
    """Give a function that runs a command line quietly in this process."""

    def call(*arguments: object) -> Called:
        capsys.readouterr()
        code = run(["-q", *(str(argument) for argument in arguments)])
        said = capsys.readouterr()
        return Called(code=code, out=said.out, err=said.err)

    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkpoint with its data; `build` is the command line that compiles it."""

    checkpoint: Path
    train: Path
    dev: Path

    def build(self, out: Path, *options: object) -> list[str]:
        """Return a build's arguments; later options win over these."""
        data = ["--calibration-data", self.train, "--validation-data", self.dev, *ANY_DROP, "--no-cache"]
        return [str(argument) for argument in ("build", self.checkpoint, "-o", out, *data, *options)]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A tiny classifier with training and validation text: read only."""
    folder = tmp_path_factory.mktemp("classifier")
    return write_place(folder)


def write_place(folder: Path, **options: Any) -> Place:
    """Write a tiny classifier and its data."""
    checkpoint = write_tiny_bert(folder / "checkpoint", **{"positions": POSITIONS} | options)
    labels = options.get("labels") or ("negative", "positive")
    return Place(
        checkpoint=checkpoint,
        train=write_labelled(folder / "train.tsv", TEXTS[:ROWS], labels),
        dev=write_labelled(folder / "dev.tsv", TEXTS[ROWS:], labels),
    )


def write_labelled(path: Path, texts: tuple[str, ...], labels: tuple[str, ...]) -> Path:
    """Write texts with labels in turn."""
    lines = [f"{text}\t{labels[index % len(labels)]}\n" for index, text in enumerate(texts)]
    path.write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def artefact(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny classifier, built once: read only."""
    out = tmp_path_factory.mktemp("artefact") / "out"
    assert run(["-q", *place.build(out)]) == 0
    return out


def report_of(out: Path) -> dict[str, Any]:
    """Read an artefact's report."""
    document: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return document


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> set[str]:
    """Return what lies directly in a folder, hidden entries too."""
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Give a function that mounts a tmpfs with options; skipped where mounting is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("needs the command mount")
        if done.returncode != 0:
            pytest.skip("mounting a file system is not allowed here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def run_process(*arguments: str, timeout: float = 120) -> Called:
    """Run a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from bertc.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Called(code=done.returncode, out=done.stdout, err=done.stderr)
