"""Nothing is overwritten that the user did not offer: inputs, through whatever name, and things of another kind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

from bertc.artefact import kinds, layout
from bertc.artefact.destination import Destination, Source, check_apart, check_destinations, check_replaceable
from bertc.artefact.kinds import ANSWERS, ARTEFACT, CACHE, MODEL, PRUNED, RECIPE, REPOSITORY, TABLE, TRAINED, Kind
from bertc.artefact.manifest import Provenance, write_manifest
from bertc.artefact.swap import artefact_folder
from bertc.errors import InputError
from bertc.runtime.machine.cpu import Cpu

CPU = Cpu(model="test", features=frozenset(), cores=1)
Make = Callable[[Path], object]


def made(folder: Path, *, target: str = "ort-cpu", file: str = "model.onnx") -> Path:
    """Write a folder as bertc does."""
    folder.mkdir()
    (folder / file).write_text("content")
    write_manifest(folder, Provenance(target=target, checkpoint="c", cpu=CPU, versions={}))
    return folder


def pruned(folder: Path) -> Path:
    return made(folder, target="checkpoint", file=layout.SPARSITY_FILE)


def trained(folder: Path) -> Path:
    return made(folder, target="checkpoint", file=layout.TRAINING_FILE)


def checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    return folder


def apart(out: Path, read: Path, kind: Kind = ANSWERS) -> None:
    check_apart((Destination(option="-o", path=out, kind=kind),), (Source(option="--input", path=read),))


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_an_output_is_no_input_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = tmp_path / "read.txt"
    read.write_text("x")
    (tmp_path / "link").symlink_to(read)
    (tmp_path / "folder").symlink_to(tmp_path)
    os.link(read, tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    roundabout = Path("folder") / ".." / tmp_path.name / "read.txt"
    for out in (read, Path("read.txt"), roundabout, Path("link"), Path("folder/link"), Path("hard")):
        with pytest.raises(InputError, match="is what --input names and this command reads; choose another place"):
            apart(out, read)
        with pytest.raises(InputError, match="is what --input names"):
            apart(read, out)
    apart(tmp_path / "beside.txt", read)
    apart(tmp_path / "read.txt.new", read)


def test_an_output_lies_in_no_input_and_holds_none(tmp_path: Path) -> None:
    read = checkpoint(tmp_path / "read")
    (tmp_path / "link").symlink_to(read)
    for out in (read / "out", read / "deep" / "down" / "out", tmp_path / "link" / "out"):
        with pytest.raises(InputError, match=r"lies in .*read, which --input names"):
            apart(out, read, ARTEFACT)
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match=r"holds .*config\.json, which --input names"):
            apart(out, read / "config.json", ARTEFACT)
    apart(tmp_path / "readout", read, ARTEFACT)
    apart(tmp_path, read, REPOSITORY)  # things are added to it, and nothing is taken away
    with pytest.raises(InputError, match="lies in"):
        apart(read / "models", read, REPOSITORY)


def test_what_a_link_in_an_input_leads_to_is_read_too(tmp_path: Path) -> None:
    read, table = checkpoint(tmp_path / "read"), tmp_path / "table.json"
    table.write_text("{}")
    apart(table, read)
    (read / "calibration.json").symlink_to(table)
    with pytest.raises(InputError, match="is what --input names"):
        apart(table, read)


def test_an_input_hinders_only_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there may be a hub id, and is refused by what reads it."""
    monkeypatch.chdir(tmp_path)
    name = Path("org/model")
    apart(name, name)
    apart(tmp_path / "out", Path("nul\0byte"))
    name.mkdir(parents=True)
    with pytest.raises(InputError, match="is what --input names"):
        apart(name, name)
    with pytest.raises(InputError, match=r"holds org/model, which --input names"):
        apart(tmp_path / "org", name, ARTEFACT)


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that is `tmp_path / "read"` under another name, as no link shows; skipped where not allowed."""
    (tmp_path / "read").mkdir()
    (tmp_path / "bound").mkdir()
    try:
        command = ["mount", "--bind", str(tmp_path / "read"), str(tmp_path / "bound")]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this user may not mount")
    yield tmp_path / "bound"
    subprocess.run(["umount", str(tmp_path / "bound")], check=True)


def test_the_file_system_decides_what_is_the_same(tmp_path: Path, bound: Path) -> None:
    with pytest.raises(InputError, match="is what --input names"):
        apart(bound, tmp_path / "read", ARTEFACT)
    with pytest.raises(InputError, match="lies in"):
        apart(bound / "out", tmp_path / "read", ARTEFACT)


def test_upper_and_lower_case_are_one_where_the_file_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "read").mkdir()
    apart(tmp_path / "READ" / "out", tmp_path / "read", ARTEFACT)

    def samefile(self: Path, other: Path) -> bool:
        return str(self).lower() == str(other).lower()

    monkeypatch.setattr(Path, "samefile", samefile)
    with pytest.raises(InputError, match="lies in"):
        apart(tmp_path / "READ" / "out", tmp_path / "read", ARTEFACT)
    with pytest.raises(InputError, match="is what --input names"):
        apart(tmp_path / "Read", tmp_path / "read", ARTEFACT)


def test_two_outputs_are_two_places(tmp_path: Path) -> None:
    def both(one: Path, other: Path) -> None:
        check_apart([Destination(option="-o", path=path, kind=ARTEFACT) for path in (one, other)], ())

    both(tmp_path / "a", tmp_path / "b")
    for pair in ((tmp_path / "a", tmp_path / "a"), (tmp_path / "a", tmp_path / "a" / "b")):
        for one, other in (pair, pair[::-1]):
            with pytest.raises(InputError, match="are not apart"):
                both(one, other)


@pytest.mark.parametrize("make", [made, pruned, trained])
def test_nothing_is_added_to_a_folder_whose_files_a_manifest_lists(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "ours")
    for kind in (ANSWERS, ARTEFACT, CACHE, REPOSITORY):
        with pytest.raises(InputError, match="whose files are those of its manifest"):
            apart(tmp_path / "ours" / "deep" / "out", tmp_path / "elsewhere", kind)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "manifest.json").write_text('{"name": "a browser extension"}')
    apart(tmp_path / "theirs" / "out", tmp_path / "elsewhere")


# --- kinds ------------------------------------------------------------------------------------------------------------

FOLDERS: dict[str, tuple[Make, str]] = {
    "an artefact": (made, "is an artefact,"),
    "a pruned checkpoint": (pruned, "is a pruned checkpoint,"),
    "a trained checkpoint": (trained, "is a trained checkpoint,"),
    "a checkpoint": (checkpoint, "has files but no manifest.json"),
}
OF_FOLDERS = (ARTEFACT, PRUNED, TRAINED)


@pytest.mark.parametrize("kind", OF_FOLDERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("there", FOLDERS)
def test_a_folder_replaces_its_own_kind_alone(tmp_path: Path, there: str, kind: Kind) -> None:
    make, words = FOLDERS[there]
    make(tmp_path / "out")
    if there == kind.name:
        check_replaceable(tmp_path / "out", kind, force=True)
        return
    for force in (False, True):
        with pytest.raises(InputError) as refusal:
            check_replaceable(tmp_path / "out", kind, force=force)
        assert words in str(refusal.value)
        with pytest.raises(InputError), artefact_folder(tmp_path / "out", kind=kind, force=force):
            raise AssertionError("the work began")


def test_a_sweep_goes_on_in_its_own_folder_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_replaceable(out, kinds.SWEEP)
    out.mkdir()
    check_replaceable(out, kinds.SWEEP)
    (out / layout.SWEEP_FILE).write_text('{\n  "kind": "bertc sweep",\n  "schema": 1\n}\n')
    (out / "notes.txt").write_text("of somebody")
    check_replaceable(out, kinds.SWEEP)
    for kind in OF_FOLDERS:
        with pytest.raises(InputError, match="so bertc did not write it"):
            check_replaceable(out, kind, force=True)
    (out / layout.SWEEP_FILE).write_text('{"builds": []}')
    for folder in (out, made(tmp_path / "artefact"), checkpoint(tmp_path / "checkpoint")):
        with pytest.raises(InputError, match="which is not replaced by a sweep"):
            check_replaceable(folder, kinds.SWEEP, force=True)
    with pytest.raises(InputError, match="is a file"):
        check_replaceable(out / "notes.txt", kinds.SWEEP)


def test_a_training_is_replaced_with_force_only(tmp_path: Path) -> None:
    check_replaceable(made(tmp_path / "artefact"), ARTEFACT)
    check_replaceable(pruned(tmp_path / "pruned"), PRUNED)
    with pytest.raises(InputError, match="is a trained checkpoint already; choose another place, or replace it with"):
        check_replaceable(trained(tmp_path / "trained"), TRAINED)
    check_replaceable(tmp_path / "trained", TRAINED, force=True)


TABLE_TEXT = '{\n "schema": 3,\n "checkpoint": "0a1b",\n "origin": {},\n "overrides": {}\n}\n'
FILES: dict[str, tuple[Kind, str, bool]] = {
    "a table": (TABLE, TABLE_TEXT, True),
    "a table with a range set by hand": (TABLE, TABLE_TEXT.replace('"overrides": {}', '"overrides": {"x": 1}'), False),
    "a recipe": (RECIPE, 'checkpoint = "model"\n', False),
    "answers": (ANSWERS, '{"label": "positive"}\n', False),
    "a baseline": (kinds.BASELINE, '{\n "kind": "bertc baseline"\n}\n', True),
    "JUnit": (kinds.JUNIT, '<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="bertc gate"/>\n', True),
    "a summary": (kinds.SUMMARY, "### Accuracy against the baseline: passed\n", True),
    "a page": (kinds.PAGE, "<!doctype html>\n<title>bertc bench</title>\n", True),
}
OTHERS = ("text\tlabel\n", "plain words\n", "[1, 2]\n", '<?xml version="1.0"?><project/>', "\x00\x01\x02", "= \n")


@pytest.mark.parametrize("name", FILES)
def test_a_file_replaces_its_own_kind_alone(tmp_path: Path, name: str) -> None:
    kind, text, freely = FILES[name]
    path = tmp_path / "out"
    check_replaceable(path, kind)
    path.write_text("")
    check_replaceable(path, kind)  # nothing is in it to lose
    path.write_text(text)
    check_replaceable(path, kind, force=True)
    if freely:
        check_replaceable(path, kind)
    else:
        with pytest.raises(InputError, match="already; choose another place, or replace it with --force"):
            check_replaceable(path, kind)
    for other in OTHERS:
        path.write_text(other)
        with pytest.raises(InputError, match=f"which is not replaced by {kind.name}"):
            check_replaceable(path, kind, force=True)


def test_a_model_of_somebody_else_needs_force(tmp_path: Path) -> None:
    def write(producer: str | None) -> Path:
        graph = ir.Graph([], [], nodes=[], opset_imports={"": 20}, name="main")
        ir.save(ir.Model(graph, ir_version=10, producer_name=producer), tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    check_replaceable(write("bertc"), MODEL)
    for producer in (None, "pytorch"):
        with pytest.raises(InputError, match="is an ONNX model already"):
            check_replaceable(write(producer), MODEL)
        check_replaceable(write(producer), MODEL, force=True)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")  # how a safetensors file may begin
    with pytest.raises(InputError, match="of another kind"):
        check_replaceable(tmp_path / "model.onnx", MODEL, force=True)


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a folder; name the file to write"):
        check_replaceable(tmp_path, ANSWERS)
    for kind in (ARTEFACT, CACHE, REPOSITORY):
        with pytest.raises(InputError, match="is a file; choose a folder"):
            check_replaceable(tmp_path / "file", kind)
    check_replaceable(Path(os.devnull), ANSWERS)


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path, readonly: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for out, words in (
        (tmp_path / "file" / "deep" / "out", "a part of the path is a file"),
        (tmp_path / "loop" / "out", "links form a loop"),
        (tmp_path / ("x" * 300), "the name is too long"),
        (Path("nul\0byte"), "is no path"),
        (readonly / "deep" / "out", "the file system is read-only|permission denied"),
    ):
        for kind in (ANSWERS, ARTEFACT):
            with pytest.raises(InputError, match=words):
                check_destinations((Destination(option="-o", path=out, kind=kind),), ())
    check_destinations((Destination(option="-o", path=tmp_path / "new" / "out", kind=ARTEFACT),), ())
    check_destinations((Destination(option="--cache-dir", path=readonly, kind=CACHE),), ())
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_into_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving it aside would be refused when the build is done; root may write everywhere, so the answer is given."""
    locked, free = made(tmp_path / "locked"), made(tmp_path / "free")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    with pytest.raises(InputError, match=r"locked cannot be written \(permission denied: .*locked\); choose another"):
        check_destinations((Destination(option="-o", path=locked, kind=ARTEFACT),), ())
    check_destinations((Destination(option="-o", path=free, kind=ARTEFACT),), ())
