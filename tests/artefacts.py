"""Fixtures: a function that runs command lines, and tiny artefacts with their data, each built once by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from bertc.cli.main import run
from bertc.core.digest import digest_of_file
from tests.fixtures import edit_json, tiny_sentence, write_tiny_bert

ROWS = 48
PathOf = Callable[[str], Path]


@dataclass(frozen=True)
class Called:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """What it printed, as JSON."""
        document: dict[str, object] = json.loads(self.out)
        return document


Bertc = Callable[..., Called]


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Bertc:
    """Give a function that runs a command line in this process."""

    def call(*arguments: object) -> Called:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Called(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data for each task."""
    folder = tmp_path_factory.mktemp("data")
    texts = [tiny_sentence(seed, 4 + seed % 9) for seed in range(ROWS)]
    labels = ["negative", "positive"]
    rows = "".join(f"{text}\t{labels[index % 2]}\n" for index, text in enumerate(texts))
    (folder / "sequence-classification.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    tags = ["O", "B-person", "O", "O"]
    words = ["\n".join(f"{word}\t{tags[i % 4]}" for i, word in enumerate(text.split())) for text in texts]
    (folder / "token-classification.conll").write_text("\n\n".join(words) + "\n", encoding="utf-8")
    pairs = "".join(f'"{a}","{b}",{i % 5}\n' for i, (a, b) in enumerate(pairwise(texts)))
    (folder / "feature-extraction.csv").write_text("sentence1,sentence2,score\n" + pairs, encoding="utf-8")
    (folder / "late-interaction.csv").write_text("query,passage,score\n" + ranked_lines(texts), encoding="utf-8")
    (folder / "text-ranking.csv").write_text("query,passage,score\n" + ranked_lines(texts), encoding="utf-8")
    (folder / "fill-mask.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (folder / "sparse-embedding.csv").write_text("sentence1,sentence2,score\n" + pairs, encoding="utf-8")
    questions = [{"question": "what is it", "context": text, "answers": [text.split()[0]]} for text in texts]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (folder / "question-answering.jsonl").write_text(lines, encoding="utf-8")
    return folder


def ranked_lines(texts: Sequence[str]) -> str:
    """Return lines of a query, a document and a relevance: four documents for each query."""
    return "".join(f'"what is {index // 4}","{text}",{index % 4}\n' for index, text in enumerate(texts))


@pytest.fixture(scope="session")
def data_of(data: Path) -> PathOf:
    """Give a function that finds the data of a task."""
    return lambda task: next(data.glob(f"{task}.*"))


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> PathOf:
    """Give a function that writes a task's tiny checkpoint once."""
    made: dict[str, Path] = {}

    def of(task: str) -> Path:
        if task not in made:
            made[task] = write_tiny_bert(tmp_path_factory.mktemp("checkpoint") / task, task=task)
        return made[task]

    return of


@pytest.fixture(scope="session")
def artefact_of(tmp_path_factory: pytest.TempPathFactory, data_of: PathOf, checkpoint_of: PathOf) -> PathOf:
    """Give a function that builds a task's artefact once, with a gate that always passes: read only."""
    return _built_once(tmp_path_factory, data_of, checkpoint_of)


@pytest.fixture(scope="session")
def ort_artefact_of(tmp_path_factory: pytest.TempPathFactory, data_of: PathOf, checkpoint_of: PathOf) -> PathOf:
    """Give a function that builds a task's artefact for ONNX Runtime once: read only."""
    return _built_once(tmp_path_factory, data_of, checkpoint_of, "--target", "ort-cpu")


def _built_once(tmp_path_factory: pytest.TempPathFactory, data_of: PathOf, checkpoint_of: PathOf, *more: str) -> PathOf:
    made: dict[str, Path] = {}

    def of(task: str) -> Path:
        if task not in made:
            out = tmp_path_factory.mktemp("artefact") / task
            rows = str(data_of(task))
            options = ["--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q"]
            options.append("--any-reference")  # the weights are random
            # The files say fill-mask of the first, and a score of the second.
            options += ["--task", task] if task in ("sparse-embedding", "text-ranking") else []
            assert run(["build", str(checkpoint_of(task)), "-o", str(out), *options, *more]) == 0
            made[task] = out
        return made[task]

    return of


@pytest.fixture(scope="session")
def classifier(checkpoint_of: PathOf) -> Path:
    """A tiny classifier's checkpoint."""
    return checkpoint_of("sequence-classification")


@pytest.fixture(scope="session")
def rows(data_of: PathOf) -> Path:
    """The classifier's labelled data."""
    return data_of("sequence-classification")


@pytest.fixture(scope="session")
def artefact(artefact_of: PathOf) -> Path:
    """The classifier's artefact: read only."""
    return artefact_of("sequence-classification")


@pytest.fixture(scope="session")
def ort_artefact(ort_artefact_of: PathOf) -> Path:
    """The classifier's artefact for ONNX Runtime: read only."""
    return ort_artefact_of("sequence-classification")


def let_fail(out: Path, *, unvalidated: bool = False) -> Path:
    """Make the verdict of an artefact a fail, or none, with a manifest that fits, as its build would have.

    Return the folder.
    """
    report = out / "report.json"
    none = {"unvalidated": True, "accuracy": None} if unvalidated else {}
    found = json.loads(report.read_text(encoding="utf-8")) | {"passed": False} | none
    report.write_text(json.dumps(found), encoding="utf-8")
    files = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["files"]
    record = {"sha256": digest_of_file(report), "bytes": report.stat().st_size}
    edit_json(out / "manifest.json", files=files | {"report.json": record})
    return out
