"""Every option that writes, with its kind; and what each command refuses to overwrite, byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from bertc.artefact import kinds, layout
from bertc.artefact.kinds import Kind
from bertc.artefact.manifest import Provenance, write_manifest
from bertc.cli.paths import Reads, Writes
from bertc.core.plugins import COMMANDS
from bertc.runtime.machine.cpu import cpu_features
from tests.artefacts import Bertc

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
WRITTEN: dict[tuple[str, str], Kind] = {
    ("bench", "--plot"): kinds.PAGE,
    ("build", "--cache-dir"): kinds.CACHE,
    ("build", "-o"): kinds.ARTEFACT,
    ("calibrate", "--cache-dir"): kinds.CACHE,
    ("calibrate", "-o"): kinds.TABLE,
    ("config", "-o"): kinds.RECIPE,
    ("distill", "--cache-dir"): kinds.CACHE,
    ("distill", "--engine"): kinds.ARTEFACT,
    ("distill", "-o"): kinds.TRAINED,
    ("doctor", "--cache-dir"): kinds.CACHE,
    ("export", "--cache-dir"): kinds.CACHE,
    ("export", "--triton-repository"): kinds.REPOSITORY,
    ("export", "-o"): kinds.MODEL,
    ("finetune", "--cache-dir"): kinds.CACHE,
    ("finetune", "-o"): kinds.TRAINED,
    ("gate", "--baseline"): kinds.BASELINE,
    ("gate", "--junit"): kinds.JUNIT,
    ("gate", "--markdown"): kinds.SUMMARY,
    ("predict", "-o"): kinds.ANSWERS,
    ("prune", "--cache-dir"): kinds.CACHE,
    ("prune", "-o"): kinds.PRUNED,
    ("quantize", "--cache-dir"): kinds.CACHE,
    ("quantize", "-o"): kinds.MODEL,
    ("sweep", "--cache-dir"): kinds.CACHE,
    ("sweep", "-o"): kinds.SWEEP,
}
PATH_NAMES = {"FILE", "OUT", "DIR", "PATH", "TABLE", "CHECKPOINT", "REPORT", "FIRST", "SECOND", "ARTEFACTS", "OUT..."}


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    for name in COMMANDS.names():
        yield from ((name, parameter) for parameter in COMMANDS.module(name).command.params)


def word_of(parameter: click.Parameter) -> str:
    """Return what stands for the value in the help: FILE."""
    return (parameter.metavar or str(parameter.name)).upper()


def test_every_option_that_writes_is_listed_with_its_kind() -> None:
    found = {
        (name, parameter.opts[0]): parameter.type.written
        for name, parameter in parameters()
        if isinstance(parameter.type, Writes)
    }
    assert found == WRITTEN


def test_every_path_says_whether_it_is_read_or_written() -> None:
    unsaid = [
        f"{name} {parameter.opts[0]}"
        for name, parameter in parameters()
        if (isinstance(parameter.type, click.Path) or word_of(parameter) in PATH_NAMES)
        and not isinstance(parameter.type, Reads | Writes)
    ]
    assert not unsaid
    assert any(isinstance(parameter.type, Reads) for _, parameter in parameters())


def test_force_is_declared_where_it_does_something() -> None:
    forced = {name for name, parameter in parameters() if parameter.name == "force"}
    assert forced == {"calibrate", "config", "distill", "export", "finetune", "predict", "quantize", "sweep"}


def test_the_page_has_a_line_for_every_option() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for (command, option), kind in WRITTEN.items():
        name = option if option == "--cache-dir" else f"{command} {option}"
        assert any(f"`{name}`" in line.split("|")[1] and kind.name in line for line in lines), (command, option)


# --- what is refused --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder with one thing of every kind, by name."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return (
            self.root
            / {
                "ckpt": "ckpt",
                "weights": "ckpt/model.safetensors",
                "trained": "trained",
                "pruned": "pruned",
                "artefact": "artefact",
                "data": "data.tsv",
                "texts": "texts.txt",
                "recipe": "recipe.toml",
                "thesis": "thesis.xml",
                "jsonl": "texts.jsonl",
                "report": "artefact/report.json",
                "models": "models",
                "new": "new",
            }[name]
        )

    def contents(self) -> dict[str, bytes]:
        """Every file with its bytes, and every folder."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for path in self.root.rglob("*")
        }


@pytest.fixture(scope="module")
def home_once(tmp_path_factory: pytest.TempPathFactory, classifier: Path, artefact: Path, rows: Path) -> Home:
    root = tmp_path_factory.mktemp("home")
    home = Home(root=root)
    shutil.copytree(classifier, home.ckpt)
    for folder, file in ((home.trained, layout.TRAINING_FILE), (home.pruned, layout.SPARSITY_FILE)):
        shutil.copytree(classifier, folder)
        (folder / file).write_text("{}", encoding="utf-8")
        write_manifest(folder, Provenance(target="checkpoint", checkpoint="c", cpu=cpu_features(), versions={}))
    shutil.copytree(artefact, home.artefact)
    shutil.copyfile(rows, home.data)
    home.texts.write_text("a good film\n", encoding="utf-8")
    home.jsonl.write_text('{"text": "a good film"}\n', encoding="utf-8")
    home.thesis.write_text("<thesis/>\n", encoding="utf-8")
    recipe = f'checkpoint = "ckpt"\n[calibration]\ndata = "data.tsv"\n[validation]\ndata = "{home.data.name}"\n'
    home.recipe.write_text(recipe, encoding="utf-8")
    shutil.copyfile(artefact / "calibration.json", root / "table.json")
    named = 'checkpoint = "trained"\n[calibration]\ntable = "table.json"\n[training]\ndata = "data.tsv"\n'
    (root / "train.toml").write_text(named, encoding="utf-8")
    return home


@pytest.fixture
def home(home_once: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(home_once.root)
    return home_once


DATA = "--calibration-data data.tsv --no-cache"
BOTH = f"{DATA} --validation-data data.tsv"
REFUSED: dict[str, str] = {
    # an input
    f"build trained -o trained {BOTH}": "-o trained is what CHECKPOINT names and this command reads",
    f"build ./ckpt -o link {BOTH}": "-o link is what CHECKPOINT names",
    "build --recipe recipe.toml -o ckpt --no-cache": "ckpt has files but no manifest.json",
    "finetune --recipe train.toml -o trained --force": "-o trained is what CHECKPOINT names",
    "calibrate --recipe train.toml -o table.json": "-o table.json is what --calibration names",
    f"build ckpt -o data.tsv {BOTH}": "-o data.tsv is what --calibration-data names",
    "build ckpt -o artefact --calibration artefact/calibration.json --unvalidated": "-o artefact holds artefact/cal",
    "build --recipe artefact/recipe.toml -o artefact": "-o artefact holds artefact/recipe.toml",
    f"build ckpt -o ckpt/out {BOTH}": "-o ckpt/out lies in ckpt, which CHECKPOINT names",
    f"build ckpt -o new --cache-dir ckpt/cache {DATA} --unvalidated": "--cache-dir ckpt/cache lies in ckpt",
    f"build ckpt -o new --cache-dir new/cache {DATA} --unvalidated": "are not apart",
    "build ckpt -o new --cache-dir artefact/cache": "lies in",
    f"prune ckpt -o ckpt {DATA}": "-o ckpt is what CHECKPOINT names",
    f"finetune ckpt -o ckpt {DATA} --train-data data.tsv": "-o ckpt is what CHECKPOINT names",
    f"finetune ckpt -o trained --force {DATA} --train-data data.tsv --teacher trained": "is what --teacher names",
    f"distill ckpt -o ckpt {DATA} --train-data data.tsv --layers 1": "-o ckpt is what CHECKPOINT names",
    f"distill ckpt -o new --engine new {BOTH} --train-data data.tsv --layers 1": "are not apart",
    f"calibrate ckpt -o data.tsv {DATA}": "-o data.tsv is what --calibration-data names",
    f"calibrate ckpt -o ckpt/calibration.json {DATA}": "-o ckpt/calibration.json lies in ckpt",
    "calibrate --recipe recipe.toml -o recipe.toml --no-cache": "-o recipe.toml is what --recipe names",
    "calibrate --recipe recipe.toml -o data.tsv --no-cache": "data.tsv is a file of another kind",
    f"export ckpt -o ckpt/model.safetensors {DATA}": "-o ckpt/model.safetensors lies in ckpt",
    f"export ckpt -o ckpt {DATA}": "-o ckpt/model.onnx lies in ckpt",
    f"quantize ckpt -o hard.tsv {DATA}": "-o hard.tsv is what --calibration-data names",
    "export artefact --triton-repository artefact": "--triton-repository artefact is what CHECKPOINT names",
    "export artefact --triton-repository artefact/models": "--triton-repository artefact/models lies in artefact",
    "export ckpt --triton-repository ckpt --target float": "--triton-repository ckpt is what CHECKPOINT names",
    "predict artefact --input texts.txt -o texts.txt": "-o texts.txt is what --input names",
    "predict artefact --input texts.jsonl -o ./texts.jsonl --force": "is what --input names",
    "predict artefact --input texts.txt -o artefact": "-o artefact is what OUT names",
    "predict artefact --input texts.txt -o artefact/rows.jsonl": "-o artefact/rows.jsonl lies in artefact",
    "bench artefact --texts data.tsv --plot data.tsv": "--plot data.tsv is what --texts names",
    "bench artefact --shape 1x8 --plot artefact/report.html": "--plot artefact/report.html lies in artefact",
    "gate artefact --baseline artefact/report.json --update": "--baseline artefact/report.json lies in artefact",
    "gate artefact/report.json --baseline b.json --update --junit b.json": "are not apart",
    "gate artefact/report.json --baseline texts.jsonl --junit texts.jsonl": "is what --baseline names",
    "config ckpt -o ckpt/config.json --force": "-o ckpt/config.json lies in ckpt",
    # another kind
    f"build ckpt -o trained {BOTH}": "trained is a trained checkpoint, which is not replaced by an artefact",
    f"build ckpt -o pruned {BOTH}": "pruned is a pruned checkpoint, which is not replaced by an artefact",
    f"build trained -o ckpt {BOTH}": "ckpt has files but no manifest.json",
    f"build ckpt -o texts.txt {BOTH}": "texts.txt is a file; choose a folder",
    f"prune ckpt -o artefact {DATA}": "artefact is an artefact, which is not replaced by a pruned checkpoint",
    f"prune ckpt -o trained {DATA}": "trained is a trained checkpoint, which is not replaced by a pruned checkpoint",
    f"finetune ckpt -o artefact --force {DATA} --train-data data.tsv": "artefact is an artefact",
    f"finetune ckpt -o pruned --force {DATA} --train-data data.tsv": "pruned is a pruned checkpoint",
    f"finetune ckpt -o trained {DATA} --train-data data.tsv": "is a trained checkpoint already",
    f"distill ckpt -o new --engine trained {BOTH} --train-data data.tsv --layers 1": "not replaced by an artefact",
    f"calibrate ckpt -o texts.txt --force {DATA}": "which is not replaced by a calibration table",
    f"calibrate ckpt -o recipe.toml --force {DATA}": "which is not replaced by a calibration table",
    f"calibrate ckpt -o artefact/report.json --force {DATA}": "lies in",
    f"export trained -o ckpt/model.safetensors --force {DATA}": "which is not replaced by an ONNX model",
    f"export ckpt -o texts.txt {DATA}": "which is not replaced by an ONNX model",
    f"quantize ckpt -o texts.jsonl {DATA}": "which is not replaced by an ONNX model",
    f"quantize ckpt -o trained/quantized.onnx {DATA}": "lies in",
    "export artefact --triton-repository texts.txt": "texts.txt is a file",
    "predict artefact --text good -o data.tsv --force": "which is not replaced by a file of JSON lines",
    "predict artefact --text good -o texts.jsonl": "is a file of JSON lines already",
    "predict artefact --text good -o ckpt": "ckpt is a folder; name the file to write",
    "bench artefact --shape 1x8 --plot thesis.xml": "which is not replaced by a page of bertc bench",
    "gate artefact --baseline data.tsv --update": "which is not replaced by a baseline of bertc gate",
    "gate artefact --baseline recipe.toml --update": "which is not replaced by a baseline of bertc gate",
    "gate artefact --baseline b.json --junit data.tsv": "which is not replaced by a JUnit file of bertc gate",
    "gate artefact --baseline b.json --junit thesis.xml": "which is not replaced by a JUnit file of bertc gate",
    "gate artefact --baseline b.json --markdown texts.txt": "which is not replaced by a summary of bertc gate",
    "config ckpt -o data.tsv --force": "which is not replaced by a recipe",
    "config ckpt -o recipe.toml": "recipe.toml is a recipe already; choose another place, or replace it with --force",
    # no place
    f"calibrate ckpt -o texts.txt/table.json {DATA}": "cannot be written (a part of the path is a file",
    "predict artefact --text good -o texts.txt/a.jsonl": "cannot be written (a part of the path is a file",
    f"build ckpt -o texts.txt/out {BOTH}": "cannot be written (a part of the path is a file",
}


@pytest.mark.parametrize("line", REFUSED)
def test_nothing_is_overwritten_that_was_not_offered(bertc: Bertc, home: Home, line: str) -> None:
    link, hard = home.root / "link", home.root / "hard.tsv"
    link.symlink_to("ckpt")
    os.link(home.data, hard)
    before = home.contents()
    try:
        called = bertc(*line.split(), "-q")
        after = home.contents()
    finally:
        link.unlink()
        hard.unlink()
    assert called.code == 2, called.err
    assert called.out == ""
    assert called.err.startswith("error: ") and called.err.count("\n") == 1
    assert REFUSED[line] in called.err
    assert after == before


def test_an_empty_path_is_refused_everywhere(bertc: Bertc, home: Home) -> None:
    before = home.contents()
    for line in (
        ["build", "ckpt", "-o", ""],
        ["build", "", "-o", "new"],
        ["build", "ckpt", "-o", "new", "--validation-data", ""],
        ["build", "--recipe", "", "-o", "new"],
        ["predict", "artefact", "--text", "good", "-o", ""],
        ["predict", "", "--text", "good"],
        ["gate", "artefact", "--baseline", "b.json", "--junit", ""],
        ["bench", "artefact", ""],
        ["calibrate", "ckpt", "--cache-dir", ""],
    ):
        called = bertc(*line)
        assert called.code == 2 and "an empty path names nothing; write . for the current folder" in called.err, line
    assert home.contents() == before


def test_a_read_only_folder_is_refused_before_the_work(
    bertc: Bertc, home: Home, readonly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("bertc.jobs.export.checkpoint_from_recipe", work)
    monkeypatch.setattr("bertc.jobs.build.checkpoint_from_recipe", work)
    monkeypatch.setattr("bertc.load", work)
    for line in (
        f"build ckpt -o {readonly}/out {BOTH}",
        f"calibrate ckpt -o {readonly}/table.json {DATA}",
        f"export ckpt -o {readonly} {DATA}",
        f"predict artefact --text good -o {readonly}/deep/answers.jsonl",
    ):
        called = bertc(*line.split())
        assert called.code == 2
        assert "the file system is read-only" in called.err or "permission denied" in called.err


# --- what is allowed --------------------------------------------------------------------------------------------------


@pytest.fixture
def own_home(home_once: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy to write in."""
    shutil.copytree(home_once.root, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return Home(root=tmp_path / "home")


Twice = Callable[..., None]


@pytest.mark.parametrize(
    ("line", "file"),
    [
        (f"calibrate ckpt -o new.json {DATA}", "new.json"),
        (f"export ckpt {DATA} --target float", "model.onnx"),
        ("export ckpt -o models --target float --no-cache", "models/model.onnx"),
        (f"quantize ckpt {DATA}", "quantized.onnx"),
        ("bench artefact --shape 1x8 --rounds 1 --plot bench.html", "bench.html"),
        ("gate artefact --baseline b.json --update", "b.json"),
        (f"prune ckpt -o sparse {DATA} --sparsity-criterion magnitude", "sparse/model.safetensors"),
        ("predict artefact --input texts.txt -o answers.jsonl --force", "answers.jsonl"),
        ("config ckpt -o config.toml --force", "config.toml"),
    ],
)
def test_a_thing_replaces_its_own_kind_beside_the_inputs(bertc: Bertc, own_home: Home, line: str, file: str) -> None:
    own_home.models.mkdir()
    before = own_home.contents()
    for _ in range(2):
        called = bertc(*line.split(), "-q")
        assert called.code == 0, called.err
    after = own_home.contents()
    assert after[file]
    assert {name: after.get(name) for name in before} == before, "the inputs are as they were"


def test_the_verdicts_files_are_written_again(bertc: Bertc, own_home: Home) -> None:
    assert bertc("gate", "artefact", "--baseline", "b.json", "--update", "-q").code == 0
    files = ("--junit", "junit.xml", "--markdown", "summary.md")
    (own_home.root / "summary.md").touch()  # as a CI system makes one: empty
    for _ in range(2):
        assert bertc("gate", "artefact", "--baseline", "b.json", *files, "-q").code == 0
    assert (own_home.root / "summary.md").stat().st_size and (own_home.root / "junit.xml").stat().st_size


def test_an_artefact_is_built_again_over_itself(bertc: Bertc, own_home: Home) -> None:
    shutil.copyfile("artefact/recipe.toml", "again.toml")
    old = own_home.report.read_bytes()
    assert bertc("build", "ckpt", "-o", "artefact", *BOTH.split(), "--max-drop", "2abs", "-q").code == 0
    assert own_home.report.read_bytes() != old
    assert bertc("predict", "artefact", "--text", "good", "-q").code == 0


def test_what_is_no_regular_file_is_written_as_it_is(bertc: Bertc, own_home: Home, ort_artefact: Path) -> None:
    assert bertc("predict", "artefact", "--text", "good", "-o", os.devnull).code == 0
    shutil.copytree(ort_artefact, own_home.root / "served")
    assert bertc("export", "served", "--triton-repository", ".", "-q").code == 2, "./served is there"
    assert bertc("export", "served", "--triton-repository", "models", "-q").code == 0


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("odd", ["validation", "out", "folder", "none"])
def test_what_has_to_be_named_in_utf_8_is_refused_before_the_work(
    odd: str, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(what: str, name: str) -> Path:
        return Path(os.fsdecode(os.fsencode(name) + b"\xe9" * (what == odd)))

    folder = tmp_path / named("folder", "here")
    folder.mkdir()
    monkeypatch.chdir(folder)
    data, out = named("validation", "dev.tsv"), named("out", "out")
    shutil.copyfile(rows, data)
    options = ("--calibration-data", rows, "--max-drop", "2abs", "--any-reference", "--no-cache", "--target", "ort-cpu")
    called = bertc("build", classifier, "-o", out, "--validation-data", data, *options)
    if odd == "none":
        assert called.code == 0, called.err
        return
    assert called.code == 2 and "has bytes that are no UTF-8" in called.err
    assert [each.name for each in folder.iterdir()] == [str(data)]
