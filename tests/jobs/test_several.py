"""Several engines in one folder, from the command line: what is written, which one runs, and what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bertc as package
from bertc.artefact.engines import index_of_folder
from bertc.artefact.manifest import read_manifest, verify_artefact
from bertc.core.digest import digest_of_file, files_of_folder
from bertc.errors import EnvironmentLackError, InputError
from bertc.evaluate.gates import Verdict, judge_comparison
from bertc.evaluate.scores import Comparison
from bertc.jobs.engine_choice import EngineWish, chosen_engine
from bertc.runtime.machine.cpu import Cpu
from bertc.targets import Target
from tests.artefacts import Bertc
from tests.fixtures import edit_json, tiny_sentence, write_tiny_bert

TARGETS = ("float", "ort-cpu")
LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_tiny_bert(folder / "model", positions=64)
    for name, seeds in (("train", range(20)), ("dev", range(20, 50))):
        rows = [f"{tiny_sentence(seed, 6)}\t{LABELS[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return folder


def build(bertc: Bertc, inputs: Path, out: Path, targets: str, *options: object, code: int = 0) -> str:
    data = ["--calibration-data", inputs / "train.tsv", "--validation-data", inputs / "dev.tsv"]
    words = [*data, "--max-drop", "1abs", "--any-reference", "--target", targets, *options]
    called = bertc("build", inputs / "model", "-o", out, "--no-cache", *words)
    assert called.code == code, called.err
    return called.out + called.err


@pytest.fixture(scope="module")
def kept(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("kept")}


@pytest.fixture
def out(bertc: Bertc, inputs: Path, kept: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with a float engine and one of ort-cpu, of this test alone."""
    if not (kept["folder"] / "out").exists():
        build(bertc, inputs, kept["folder"] / "out", ",".join(TARGETS))
    return Path(shutil.copytree(kept["folder"] / "out", tmp_path / "out"))


def failed(out: Path, *targets: str) -> None:
    """Make the verdict of engines a fail, as their builds would have written it, and the digests with it."""
    index = json.loads((out / "engines.json").read_text(encoding="utf-8"))
    for entry in index["engines"]:
        entry["passed"] = entry["passed"] and entry["target"] not in targets
    edit_json(out / "engines.json", **index)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    path = out / "engines.json"
    manifest["files"]["engines.json"] = {"sha256": digest_of_file(path), "bytes": path.stat().st_size}
    edit_json(out / "manifest.json", **manifest)


def test_each_engine_has_its_own_folder_and_the_rest_is_there_once(out: Path) -> None:
    files = set(files_of_folder(out))
    assert {"config.json", "tokenizer.json", "calibration.json", "engines.json", "manifest.json"} <= files
    for target in TARGETS:
        own = {name.removeprefix(f"engines/{target}/") for name in files if name.startswith(f"engines/{target}/")}
        assert {"model.onnx", "bertc.json", "report.json", "report.html", "rows.npz", "recipe.toml"} <= own
        assert not {"config.json", "tokenizer.json", "vocab.txt", "calibration.json"} & own
        assert read_manifest(out / "engines" / target).target == target
    index = index_of_folder(out)
    assert index is not None and index.targets == TARGETS and all(entry.passed for entry in index.engines)
    assert set(verify_artefact(out).files) == files - {"manifest.json"}


def test_an_engine_of_several_answers_as_the_same_engine_alone(
    bertc: Bertc, inputs: Path, out: Path, tmp_path: Path
) -> None:
    build(bertc, inputs, tmp_path / "alone", "ort-cpu")
    texts = [tiny_sentence(seed, 5) for seed in range(60, 66)]
    with package.load(tmp_path / "alone") as alone, package.load(out, engine="ort-cpu") as one:
        assert alone.predict(texts) == one.predict(texts)
        assert (alone.choice, one.choice) == ("", "ort-cpu: asked for")
    with package.load(out) as first, package.load(out / "engines" / "ort-cpu") as named:
        assert first.choice == "float: the first of float, ort-cpu that runs here"
        assert named.choice == "ort-cpu: named by its folder" and named.manifest.target == "ort-cpu"
    with pytest.raises(InputError, match="out has no engine native; name one of float, ort-cpu"):
        package.load(out, engine="native")
    with pytest.raises(InputError, match="has one engine, ort-cpu, and not float"):
        package.load(tmp_path / "alone", engine="float")


def test_an_engine_that_failed_is_passed_over_unless_it_is_wanted(bertc: Bertc, out: Path) -> None:
    failed(out, "float")
    chosen = chosen_engine(out)
    assert chosen.folder.name == "ort-cpu"
    assert chosen.reason == "ort-cpu: the first of float, ort-cpu that runs here; float: its verdict is no pass"
    assert chosen_engine(out, EngineWish(allow_failed=True)).folder.name == "float"
    assert chosen_engine(out, EngineWish(target="float")).folder.name == "float"
    failed(out, "float", "ort-cpu")
    with pytest.raises(InputError, match=r"no engine of .* is to be run here .*float: its verdict"):
        chosen_engine(out)
    called = bertc("predict", out, "--text", "good")
    assert called.code == 2 and "--allow-failed" in called.err
    assert bertc("predict", out, "--text", "good", "--allow-failed").code == 0


def test_what_this_machine_does_not_run_is_passed_over(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = out / "engines" / "float" / "manifest.json"
    whole = manifest.read_bytes()
    edit_json(manifest, valid_on={"machine": "pdp-11"})
    chosen = chosen_engine(out)
    assert chosen.folder.name == "ort-cpu" and "float: this processor lacks a pdp-11 processor" in chosen.reason
    with pytest.raises(InputError, match=r"manifest mismatch, engines/float/manifest\.json"):
        package.load(out)  # the whole manifest vouches for that of each engine
    manifest.write_bytes(whole)

    def missing(self: Target, cpu: Cpu, attention: str | None = None) -> None:
        if self.name == "float":
            raise EnvironmentLackError("its library is not installed")

    monkeypatch.setattr(Target, "check_machine", missing)
    with package.load(out) as engine:
        assert engine.choice.endswith("that runs here; float: its library is not installed")


def test_the_commands_take_an_engine_and_say_which(bertc: Bertc, inputs: Path, out: Path) -> None:
    found = bertc("inspect", out, "--json").json
    engines = found["engines"]
    assert isinstance(engines, list) and [each["target"] for each in engines] == list(TARGETS)
    assert found["target"] == "float"
    assert "ort-cpu: asked for" in bertc("inspect", out, "--engine", "ort-cpu").out
    called = bertc("predict", out, "--text", "good", "--engine", "ort-cpu")
    assert called.code == 0 and "engine ort-cpu: asked for" in called.err
    for engine in TARGETS:
        called = bertc("validate", out, "--validation-data", inputs / "dev.tsv", "--engine", engine, "--json")
        assert called.code == 0
        report = json.loads((out / "engines" / engine / "report.json").read_text(encoding="utf-8"))
        assert called.json["accuracy"]["engine"] == report["accuracy"]["engine"]  # type: ignore[index]
    called = bertc("bench", out, out / "engines" / "ort-cpu", "--shape", "1x8", "--rounds", 1, "--json")
    names = [timing["artefact"] for timing in called.json["timings"]]  # type: ignore[union-attr, index]
    assert [Path(name).name for name in names] == list(TARGETS)
    assert bertc("compare", out / "engines" / "float", out / "engines" / "ort-cpu").code == 0


def test_a_damaged_file_of_the_engine_or_of_the_shared_ones_is_found(out: Path) -> None:
    for name in ("engines/float/model.onnx", "tokenizer.json"):
        path = out / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match="manifest mismatch"):
            package.load(out)
        path.write_bytes(whole)
    (out / "engines" / "float" / "new.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="was added after the build"):
        package.load(out, engine="ort-cpu")


def test_one_engine_that_fails_fails_the_build(
    bertc: Bertc, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(comparison: Comparison, gates: Any, **options: Any) -> Verdict:
        """Judge as ever, and fail what is not float: the tiny model loses nothing in INT8."""
        verdict = judge_comparison(comparison, gates, **options)
        if comparison.accuracy.logit_mse < 1e-8:
            return verdict
        return replace(verdict, gates=(replace(verdict.gates[0], verdict="fail"),), passed=False)

    monkeypatch.setattr("bertc.jobs.build.judge_comparison", strict)
    said = build(bertc, inputs, tmp_path / "out", "float,ort-cpu", code=1)
    assert said.count("not passed") >= 1
    index = index_of_folder(tmp_path / "out")
    assert index is not None and [entry.passed for entry in index.engines] == [True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        package.load(tmp_path / "out").close()
    with pytest.warns(UserWarning, match="did not pass its gates"):
        package.load(tmp_path / "out", engine="ort-cpu").close()


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ("float,float", (), "or several targets with commas, each once"),
        ("float,auto-cpu", (), "or several targets with commas, each once"),
        ("ort-cpu,none", (), "'none' is not one of"),
        ("ort-cpu,float", ("--search",), "--search is decided for one engine"),
        ("native,ort-cpu", ("--exit-threshold", "0.3"), "early exit is decided for one engine"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(
    targets: str, options: tuple[str, ...], message: str, bertc: Bertc, inputs: Path, tmp_path: Path
) -> None:
    called = bertc("build", inputs / "model", "-o", tmp_path / "out", "--unvalidated", "--target", targets, *options)
    assert called.code == 2 and message in called.err, called.err
    assert not (tmp_path / "out").exists()


def test_several_are_for_a_build(bertc: Bertc, inputs: Path, tmp_path: Path) -> None:
    called = bertc("export", inputs / "model", "-o", tmp_path / "m.onnx", "--target", "float,ort-cpu")
    assert called.code == 2 and "names several, which is for bertc build" in called.err


def test_a_folder_without_its_list_of_engines_says_so(bertc: Bertc, out: Path) -> None:
    (out / "engines.json").unlink()
    for command in (("predict", "--text", "good"), ("inspect",), ("bench", "--rounds", 1), ("push", "me/model")):
        called = bertc(command[0], out, *command[1:])
        assert called.code == 2 and "manifest mismatch, engines.json is missing" in called.err, called.err
    for verb, *words in (("gate", "--baseline", out), ("export", "--triton-repository", out.parent / "models")):
        called = bertc(verb, out, *words)
        assert called.code == 2 and "engines.json is missing" in called.err, called.err


@pytest.mark.parametrize("gone", TARGETS)
def test_a_folder_that_lacks_an_engine_says_which(gone: str, bertc: Bertc, out: Path) -> None:
    other = next(target for target in TARGETS if target != gone)
    assert bertc("predict", out, "--text", "good", "--engine", other).code == 0
    shutil.rmtree(out / "engines" / gone)
    for words in ((), ("--engine", gone), ("--engine", other)):
        called = bertc("predict", out, "--text", "good", *words)
        assert called.code == 2 and f"manifest mismatch, engines/{gone}/manifest.json is missing" in called.err


def test_an_engine_that_was_copied_away_alone_says_what_it_lacks(bertc: Bertc, out: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(out / "engines" / "ort-cpu", tmp_path / "alone"))
    models = tmp_path / "models"
    commands = (("predict", "--text", "good"), ("push", "me/model"), ("export", "--triton-repository", models))
    for command in commands:
        called = bertc(command[0], alone, *command[1:])
        assert called.code == 2 and "is one of several engines, without the folder" in called.err, called.err
    assert not models.exists()


def test_several_engines_are_compared_and_gated_one_by_one(bertc: Bertc, out: Path, tmp_path: Path) -> None:
    called = bertc("compare", out, out / "engines" / "ort-cpu", "--json")
    assert called.code == 0, called.err
    assert called.json["targets"] == ["float", "ort-cpu"]
    assert called.json["notes"][:2] == [  # type: ignore[index]
        "the first is engine float: the first of float, ort-cpu that runs here",
        "the second is engine ort-cpu: named by its folder",
    ]
    assert bertc("compare", out, out, "--engine", "ort-cpu", "--json").json["targets"] == ["ort-cpu", "ort-cpu"]
    baseline = tmp_path / "baseline.json"
    called = bertc("gate", out, "--baseline", baseline, "--update")
    assert called.code == 2 and "has several engines" in called.err and not baseline.exists()
    assert bertc("gate", out / "engines" / "float", "--baseline", baseline, "--update").code == 0


def test_the_stages_of_an_engine_stand_under_its_name(bertc: Bertc, inputs: Path, tmp_path: Path) -> None:
    lines = build(bertc, inputs, tmp_path / "out", "float,ort-cpu-dynamic", "--validation-limit", 20).splitlines()
    first, second = lines.index("engine float:"), lines.index("engine ort-cpu-dynamic:")
    for engine, part in (("float", lines[first:second]), ("ort-cpu-dynamic", lines[second:])):
        stages = [line.split()[0] for line in part if line.endswith(" s")]
        assert (stages[0], stages[-1]) == ("read", "latency"), engine
