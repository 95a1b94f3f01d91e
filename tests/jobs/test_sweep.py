"""A sweep on tiny models: what is built, kept and built again, what fails, and what runs beside what."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.core import versions
from bertc.errors import InputError
from bertc.jobs.sweep import LOST, recipe_for_workers
from bertc.jobs.sweep_build import decides_by_times, needs_quiet
from bertc.jobs.sweep_folder import keys_of_builds
from bertc.recipe import Recipe, recipe_from_document, sweep_from_path
from bertc.report.sweep import SweepReport
from bertc.runtime.machine.cpu import cpu_features
from tests.fixtures import tiny_sentence, write_tiny_bert
from tests.jobs.sweeping import SWEEP, Place

STRICT = '[[schemes]]\nname = "strict"\n[schemes.validation]\ngates = ["logit_mse:0.0000000001abs"]\n'
NOWHERE = '[[checkpoints]]\nname = "nowhere"\ncheckpoint = "nowhere"\n'


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A sweep's inputs and what it built: read only."""
    folder = tmp_path_factory.mktemp("sweep")
    write_tiny_bert(folder / "a", positions=64, layers=1)
    for name, seeds in (("train", range(20)), ("dev", range(20, 40))):
        rows = [f"{tiny_sentence(seed, 6)}\t{('negative', 'positive')[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    place = Place(folder, tmp_path_factory.mktemp("built") / "out")
    assert place.run().exit_code == 0
    return place


@pytest.fixture
def built(pristine: Place, tmp_path: Path) -> Place:
    """The same inputs, and a copy of what was built of them."""
    return Place(pristine.folder, Path(shutil.copytree(pristine.out, tmp_path / "out")))


@pytest.fixture
def place(pristine: Place, tmp_path: Path) -> Place:
    """A copy of the inputs, of which nothing is built."""
    return Place(Path(shutil.copytree(pristine.folder, tmp_path / "in")), tmp_path / "out")


def states(report: SweepReport) -> dict[str, str]:
    return {row.name: row.state for row in report.builds}


def figures(report: SweepReport) -> list[dict[str, Any]]:
    """Return the figures without times, and without what has the time of a build in it."""
    return [row.model_dump(exclude={"seconds", "latency", "manifest"}) for row in report.builds]


def test_every_pair_is_an_artefact_and_a_row(place: Place) -> None:
    report = place.run(SWEEP + STRICT, command="bertc sweep x")
    assert states(report) == {"a/mode-1": "pass", "a/mode-2": "pass", "a/strict": "fail"}
    assert report.exit_code == 1
    for row in report.builds:
        folder = place.out / row.artefact
        assert verify_artefact(folder).target == row.target == "native"
        written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert written["command"] == "bertc sweep x"
        assert row.accuracy is not None and written["accuracy"]["drop"] == row.accuracy.drop
        assert (row.bytes, row.mode) == (written["engine"]["bytes"], written["quantization"]["mode"])
        assert written["latency"] and row.latency and row.seconds
    assert "logit_mse" in report.builds[2].reason and not report.builds[0].reason
    written = json.loads((place.out / "sweep.json").read_text(encoding="utf-8"))
    assert written == json.loads(report.model_dump_json(by_alias=True))
    assert "2 of 3 passed" in (place.out / "index.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in place.out.iterdir()) == ["builds", "index.html", "sweep.json"]


def test_what_is_there_is_kept_with_its_figures_and_its_times(built: Place) -> None:
    first = built.report
    again = built.run()
    assert not built.built and again == first
    assert built.notes == ["a/mode-1: unchanged, passed, drop 0.0000", "a/mode-2: unchanged, passed, drop 0.0000"]


def test_times_of_another_processor_are_taken_again(built: Place) -> None:
    path = built.out / "sweep.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for row in document["builds"]:
        row["latency"][0]["milliseconds"] = 1e9
    path.write_text(json.dumps(document), encoding="utf-8")
    assert all(row.latency[0].milliseconds == 1e9 for row in built.run().builds), "the same processor"
    path.write_text(json.dumps(document | {"cpu": "another"}), encoding="utf-8")
    report = built.run()
    assert not built.built and all(row.latency[0].milliseconds < 1e9 for row in report.builds)


def test_another_version_is_another_build(built: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.jobs.sweep_folder.library_versions", lambda *_: {"onnxruntime": "2.0"})
    built.run()
    assert built.built == ["a/mode-1", "a/mode-2"]


def keys(place: Place, target: str) -> list[str]:
    (place.folder / "keys.toml").write_text(SWEEP.replace("threads = 1", f'threads = 1\ntarget = "{target}"'))
    return keys_of_builds(sweep_from_path(place.folder / "keys.toml").builds)


@pytest.mark.parametrize(("target", "other"), [("auto-cpu", True), ("native", False)])
def test_what_is_chosen_by_times_is_another_build_on_another_processor(
    place: Place, monkeypatch: pytest.MonkeyPatch, target: str, other: bool
) -> None:
    before = keys(place, target)
    here = cpu_features()
    monkeypatch.setattr("bertc.jobs.sweep_folder.cpu_features", lambda: replace(here, model="another"))
    assert all(before) and (keys(place, target) != before) is other


@pytest.mark.parametrize(("target", "other"), [("auto-cpu", True), ("native", False)])
def test_a_choice_is_another_one_with_another_version_of_what_it_tries(
    place: Place, monkeypatch: pytest.MonkeyPatch, target: str, other: bool
) -> None:
    before = keys(place, target)
    of = versions._version
    monkeypatch.setattr(versions, "_version", lambda name: "9" if name == "openvino" else of(name))
    assert all(before) and (keys(place, target) != before) is other

    def lacking(name: str) -> str:
        if name == "openvino":
            raise ModuleNotFoundError(name)
        return of(name)

    monkeypatch.setattr(versions, "_version", lacking)
    assert all(keys(place, target)), "a choice goes on without what is not there"


def test_only_what_changed_is_built_again(built: Place) -> None:
    built.run(SWEEP.replace("mode = 2", 'mode = 2\ngranularity = "channel"') + STRICT)
    assert built.built == ["a/mode-2", "a/strict"]


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv", "a"])
def test_other_inputs_are_another_build(place: Place, name: str) -> None:
    before = place.run()
    path = place.folder / name
    if path.is_dir():
        write_tiny_bert(path, positions=64, layers=1, seed=5)
    else:
        path.write_text(path.read_text(encoding="utf-8") + "the end\tpositive\n", encoding="utf-8")
    after = place.run()
    assert place.built == ["a/mode-1", "a/mode-2"]
    assert all(row.key != old.key for row, old in zip(after.builds, before.builds, strict=True))


def test_a_damaged_artefact_is_no_reason_to_stop_and_built_again(built: Place) -> None:
    first = built.report
    (built.out / "builds/a/mode-1/report.json").unlink()
    shutil.rmtree(built.out / "builds/a/mode-2")
    assert figures(built.run()) == figures(first)
    assert built.built == ["a/mode-1", "a/mode-2"]


def test_an_artefact_that_another_build_put_there_is_not_taken_for_the_sweeps(built: Place) -> None:
    first = built.report
    shutil.rmtree(built.out / "builds/a/mode-2")
    shutil.copytree(built.out / "builds/a/mode-1", built.out / "builds/a/mode-2")
    assert figures(built.run()) == figures(first) and built.built == ["a/mode-2"]


def test_force_builds_all_again(built: Place) -> None:
    first = built.report
    assert figures(built.run(force=True)) == figures(first)
    assert built.built == ["a/mode-1", "a/mode-2"]


def test_one_that_cannot_be_built_stands_apart_until_it_can(place: Place) -> None:
    text = SWEEP.replace("[[schemes]]", NOWHERE + "[[schemes]]", 1)
    report = place.run(text)
    assert states(report)["nowhere/mode-1"] == "error" and states(report)["a/mode-2"] == "pass"
    assert report.exit_code == 2
    said = json.loads((place.out / "failed/nowhere/mode-1.json").read_text(encoding="utf-8"))
    assert "nowhere does not exist" in said["error"] and said["exit_code"] == 2 and "trace" not in said
    assert "nowhere does not exist" in (place.out / "index.html").read_text(encoding="utf-8")

    shutil.copytree(place.folder / "a", place.folder / "nowhere")
    assert place.run(text).exit_code == 0
    assert place.built == ["nowhere/mode-1", "nowhere/mode-2"]
    assert not (place.out / "failed").exists()


def test_a_build_that_fails_now_keeps_its_old_artefact_and_loses_its_row(place: Place) -> None:
    place.run()
    shutil.rmtree(place.folder / "a")
    report = place.run()
    assert report.exit_code == 2 and not any(row.built for row in report.builds)
    assert verify_artefact(place.out / "builds/a/mode-1")
    assert any("builds/a/mode-1 is of an earlier run" in note for note in place.notes)


def test_an_internal_error_says_where(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("bertc.jobs.sweep_build.build", broken)
    report = place.run()
    assert report.exit_code == 70 and "ZeroDivisionError" in report.builds[0].reason
    said = json.loads((place.out / "failed/a/mode-1.json").read_text(encoding="utf-8"))
    assert "in broken" in said["trace"]


def test_a_lost_process_is_tried_again_alone_and_then_is_a_failure(place: Place) -> None:
    report = place.run(SWEEP + STRICT, lose={"a/mode-1": 1, "a/mode-2": 2}, workers=2)
    assert states(report) == {"a/mode-1": "pass", "a/mode-2": "error", "a/strict": "fail"}
    assert report.builds[1].reason == LOST and report.exit_code == 3
    assert {task.name: task.alone for task in place.tasks} == {"a/mode-1": True, "a/strict": False}


def test_builds_side_by_side_share_the_cores_and_are_timed_afterwards(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.runtime.machine.cpu.usable_cores", lambda: 6)
    report = place.run(SWEEP.replace("threads = 1", "threads = 0"), workers=3)
    assert place.workers == [3] and [task.recipe.engine.threads for task in place.tasks] == [2, 2]
    for row in report.builds:
        written = json.loads((place.out / row.artefact / "report.json").read_text(encoding="utf-8"))
        assert written["latency"] == []
        assert [(each.batch, each.length) for each in row.latency] == [(1, 32)]
        assert "was not timed" in (place.out / row.artefact / "report.html").read_text(encoding="utf-8")
    floats = {row.latency[0].reference_milliseconds for row in report.builds}
    assert len(floats) == 1, "all engines of a checkpoint are timed beside one float engine"


@pytest.mark.parametrize(("threads", "workers", "share"), [(0, 4, 1), (0, 1, 0), (3, 4, 3)])
def test_threads_that_a_recipe_names_stay(
    monkeypatch: pytest.MonkeyPatch, threads: int, workers: int, share: int
) -> None:
    monkeypatch.setattr("bertc.runtime.machine.cpu.usable_cores", lambda: 2)
    recipe = recipe_from_document({"checkpoint": "x", "engine": {"threads": threads}}, "test")
    assert recipe_for_workers(recipe, workers).engine.threads == share


@pytest.mark.parametrize(
    ("sections", "quiet"),
    [
        ({}, False),
        ({"engine": {"target": "auto-cpu"}}, True),
        ({"search": {"enabled": True}}, True),
        ({"early_exit": {"threshold": 0.2}}, True),
        ({"sparsity": {"pattern": "2:4"}}, True),
        ({"quantization": {"mode": 2}}, False),
    ],
)
def test_what_decides_by_time_is_built_alone(sections: dict[str, Any], quiet: bool) -> None:
    recipe: Recipe = recipe_from_document({"checkpoint": "x", **sections}, "test")
    assert needs_quiet(recipe) is quiet
    assert decides_by_times(recipe) is (quiet and bool({"engine", "search"} & {*sections}))


def test_the_quiet_ones_come_last_one_at_a_time(place: Place) -> None:
    text = SWEEP.replace(
        'name = "mode-1"', 'name = "mode-1"\n[schemes.sparsity]\npattern = "2:4"\ncriterion = "magnitude"'
    )
    place.run(text, workers=2)
    assert place.workers == [2, 1] and [(task.name, task.alone) for task in place.tasks] == [
        ("a/mode-2", False), ("a/mode-1", True),
    ]  # fmt: skip


def test_an_artefact_that_the_sweep_no_longer_makes_stays_and_is_said(built: Place) -> None:
    report = built.run(SWEEP.replace('"mode-2"', '"other"'))
    assert [row.name for row in report.builds] == ["a/mode-1", "a/other"]
    assert any("builds/a/mode-2 is of no build of this sweep" in note for note in built.notes)
    assert verify_artefact(built.out / "builds/a/mode-2")


def test_a_failure_of_a_build_that_the_sweep_no_longer_makes_stays_and_is_said(place: Place) -> None:
    """As an artefact does; one that is of a build of the sweep is in its row."""
    failures = "failed/nowhere/mode-1.json", "failed/nowhere/mode-2.json"
    text = SWEEP.replace("[[schemes]]", NOWHERE + "[[schemes]]", 1)
    assert place.run(text).exit_code == 2
    assert place.run(text).exit_code == 2 and not any("no build of this sweep" in note for note in place.notes)
    report = place.run()
    assert report.exit_code == 0 and [row.name for row in report.builds] == ["a/mode-1", "a/mode-2"]
    said = [note for note in place.notes if "is of no build of this sweep; it stays" in note]
    assert [note.split()[0] for note in said] == list(failures)
    assert all((place.out / name).is_file() for name in failures)


@pytest.mark.parametrize("written", ["html_from_sweep", "sweep_to_json", "after"])
def test_a_sweep_that_was_ended_while_it_wrote_its_first_file_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    def ended(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # A killed process leaves the half of a file that it had written.
        where = "os.fsync" if written == "after" else written
        patched.setattr(f"bertc.jobs.sweep_folder.{where}", ended)
        with pytest.raises(KeyboardInterrupt):
            place.run()
    assert written != "after" or [path.name for path in place.out.iterdir()] == [".sweep.json.new"]
    assert place.run().exit_code == 0 and not list(place.out.glob(".*"))


@pytest.mark.parametrize("name", ["model.bin", "manifest.json"])
def test_a_folder_that_is_something_else_is_left_alone(place: Place, name: str) -> None:
    place.out.mkdir()
    (place.out / name).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is a folder with files, which is not replaced by a sweep"):
        place.run()
    assert not place.built and [path.name for path in place.out.iterdir()] == [name]


def test_figures_that_cannot_be_read_are_refused_unless_all_is_built_again(built: Place) -> None:
    path = built.out / "sweep.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 9'), encoding="utf-8")
    with pytest.raises(InputError, match=r"schema 1 \(schema: .*--force"):
        built.run()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"schema 1 \(Invalid JSON.*--force"):
        built.run()
    assert built.run(force=True).exit_code == 0
