"""The artefact's folder is whole or absent, and no file of the user's is ever lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bertc
from bertc.artefact import swap
from bertc.artefact.exchange import exchange_folders
from bertc.artefact.manifest import Provenance, verify_artefact, write_manifest
from bertc.artefact.swap import artefact_folder
from bertc.core.signals import Terminated
from bertc.errors import BertcError, EnvironmentLackError, InputError
from bertc.runtime.machine.cpu import Cpu

# A child finds the package under test wherever this process found it.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(bertc.__file__).parents[1])}
CPU = Cpu(model="test", features=frozenset(), cores=1)


def build(out: Path, text: str = "new", **options: object) -> None:
    with artefact_folder(out, **options) as folder:  # type: ignore[arg-type]
        fill(folder, text)


def fill(folder: Path, text: str) -> None:
    (folder / "model.onnx").write_text(text)
    write_manifest(folder, Provenance(target="ort-cpu", checkpoint="c", cpu=CPU, versions={}))


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path != out)


def test_a_build_appears_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "OUT"
    with artefact_folder(out) as folder:
        assert not out.exists() and folder.parent.parent == out.parent
        fill(folder, "new")
        assert not out.exists()
    assert verify_artefact(out).target == "ort-cpu"
    assert beside(out) == []


@pytest.mark.parametrize("exchange", [exchange_folders, lambda one, other: False])
def test_a_second_build_replaces_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Callable[[Path, Path], bool]
) -> None:
    monkeypatch.setattr(swap, "exchange_folders", exchange)
    build(tmp_path / "OUT", "old")
    build(tmp_path / "OUT", "new")
    assert (tmp_path / "OUT" / "model.onnx").read_text() == "new"
    assert beside(tmp_path / "OUT") == []


def test_an_error_in_the_build_leaves_the_old_artefact(tmp_path: Path) -> None:
    build(tmp_path / "OUT", "old")
    with pytest.raises(ZeroDivisionError), artefact_folder(tmp_path / "OUT") as folder:
        fill(folder, "new")
        1 / 0  # noqa: B018
    assert (tmp_path / "OUT" / "model.onnx").read_text() == "old"
    assert beside(tmp_path / "OUT") == []


@pytest.mark.parametrize("name", ["mkdtemp", "touch", "mkdir"])
def test_one_that_is_ended_while_it_begins_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SIGTERM is raised wherever the program is; here right behind each step that makes the working folder."""
    owner: Any = swap.tempfile if name == "mkdtemp" else Path
    made = getattr(owner, name)

    def ended(*arguments: Any, **keywords: Any) -> Any:
        found = made(*arguments, **keywords)
        if name != "mkdtemp" and ".bertc-" not in str(arguments[0]):
            return found
        raise Terminated

    (tmp_path / "other").mkdir()
    monkeypatch.setattr(owner, name, ended)
    with pytest.raises(Terminated), artefact_folder(tmp_path / "other" / "out"):
        raise AssertionError("it was ended before")
    monkeypatch.undo()
    left = [path.name for path in (tmp_path / "other").iterdir() if not path.name.endswith("-lock")]
    assert left == []


def test_a_failed_second_rename_brings_the_old_artefact_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "OUT", "old")
    monkeypatch.setattr(swap, "exchange_folders", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        build(tmp_path / "OUT", "new")
    assert (tmp_path / "OUT" / "model.onnx").read_text() == "old"


@pytest.mark.parametrize("how", ["exchange", "renames"])
@pytest.mark.parametrize("existing", ["old", "none"])
def test_killed_before_any_file_operation_it_leaves_old_or_none_or_new(tmp_path: Path, existing: str, how: str) -> None:
    script = Path(__file__).with_name("kill_everywhere.py")
    command = [sys.executable, str(script), str(tmp_path), existing, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=ENVIRONMENT)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 20 and not lines[-1]["died"]
    before = "old" if existing == "old" else "absent"
    allowed = {before, "new"} | ({"absent"} if how == "renames" else set())
    assert {line["after"] for line in lines} == allowed
    assert {line["recovered"] for line in lines} == {before, "new"}
    assert all(line["beside"] == [] for line in lines), "the next build cleans up"


def test_leftovers_that_are_not_surely_ours_stay(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    mine = tmp_path / ".OUT.bertc-abcdefgh"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    other = tmp_path / ".OTHER.bertc-abcdefgh"
    other.mkdir()
    (other / "made-by-bertc").touch()
    build(out)
    assert (mine / "notes.txt").read_text() == "mine"
    assert (other / "made-by-bertc").exists(), "another OUT's working folder may be in use"


def test_a_folder_with_foreign_files_is_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"has files but no manifest\.json"):
        build(out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_a_file_beside_the_artefacts_own_is_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    build(out)
    (out / "sub").mkdir()
    (out / "sub" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"did not write \(sub/notes\.txt\)"):
        build(out)
    assert (out / "sub" / "notes.txt").exists()
    (out / "sub" / "notes.txt").unlink()
    build(out, "newer")  # an empty folder holds nothing to lose
    assert (out / "model.onnx").read_text() == "newer"


def test_a_file_that_appears_during_the_build_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    build(out, "old")
    with pytest.raises(InputError, match=r"notes\.txt"), artefact_folder(out) as folder:
        fill(folder, "new")
        (out / "notes.txt").write_text("mine")
    assert (out / "notes.txt").exists() and (out / "model.onnx").read_text() == "old"


def test_a_foreign_manifest_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "a browser extension"}')
    with pytest.raises(InputError, match="not a bertc manifest"):
        build(out)
    assert (out / "manifest.json").exists()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "OUT").mkdir(mode=0o750)
    build(tmp_path / "OUT")
    assert verify_artefact(tmp_path / "OUT")
    assert (tmp_path / "OUT").stat().st_mode & 0o777 == 0o750


def test_a_link_to_a_folder_keeps_being_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "OUT").symlink_to("real")
    build(tmp_path / "OUT")
    assert (tmp_path / "OUT").is_symlink() and (tmp_path / "real" / "model.onnx").exists()


def test_places_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    for out, words in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "OUT", "a part of the path is a file"),
        (tmp_path / "loop", "links form a loop"),
        (tmp_path / "loop" / "OUT", "links form a loop"),
        (tmp_path / ("x" * 300), "name is too long"),
        (tmp_path / ("x" * 250), "name is too long"),
        (Path("/"), "mount point"),
        (Path("nul\0byte"), "no path"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            build(out)
        assert "\n" not in str(refusal.value)
    assert (tmp_path / "file").read_text() == "x"


def test_a_readonly_place_is_refused(readonly: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written \((the file system is read-only|permission denied)"):
        build(readonly / "OUT")


def test_a_mount_point_is_refused_with_the_way_out(tmp_path: Path, mount_tmpfs: Callable[[Path, str], None]) -> None:
    (tmp_path / "OUT").mkdir()
    mount_tmpfs(tmp_path / "OUT", "size=1m")
    with pytest.raises(InputError, match=r"mount point.*folder inside"):
        build(tmp_path / "OUT")
    build(tmp_path / "OUT" / "model")


def test_a_disk_that_fills_up_leaves_the_old_artefact(tmp_path: Path, mount_tmpfs: Callable[[Path, str], None]) -> None:
    mount_tmpfs(tmp_path, "size=1m")
    out = tmp_path / "OUT"
    build(out, "old")
    with pytest.raises(EnvironmentLackError, match="the disk is full"), artefact_folder(out) as folder:
        (folder / "model.onnx").write_bytes(bytes(4 << 20))
    assert (out / "model.onnx").read_text() == "old"
    assert beside(out) == []


def test_a_full_disk_by_error_number(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLackError, match="the disk is full"), artefact_folder(tmp_path / "OUT"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert beside(tmp_path / "OUT") == [] and not (tmp_path / "OUT").exists()


def test_an_error_about_another_path_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), artefact_folder(tmp_path / "OUT"):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/train.tsv")


def test_a_build_without_manifest_is_an_internal_error(tmp_path: Path) -> None:
    with pytest.raises(BertcError, match=r"without its manifest\.json") as fault, artefact_folder(tmp_path / "OUT"):
        pass
    assert fault.value.exit_code == 70 and not (tmp_path / "OUT").exists()


def test_two_builds_at_once_the_second_names_the_first(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    with artefact_folder(out) as folder:
        with pytest.raises(InputError, match=rf"another build \(process {os.getpid()}\)"):
            build(out)
        build(tmp_path / "OTHER")
        fill(folder, "first")
    assert (out / "model.onnx").read_text() == "first"
    build(out, "second")


def test_two_processes_at_once(tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    script = (
        "import sys, pathlib\nfrom bertc.artefact.swap import artefact_folder\n"
        "with artefact_folder(pathlib.Path(sys.argv[1])):\n print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=rf"another build \(process {first.pid}\)"):
            build(out)
        first.kill()
    build(out, "after a kill")  # the dead one's lock file and working folder are no obstacle
    assert (out / "model.onnx").read_text() == "after a kill" and beside(out) == []
