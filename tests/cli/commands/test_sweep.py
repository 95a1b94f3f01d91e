"""bertc sweep: its exit codes, what it refuses, and that one that is killed or stopped goes on as if undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert

SWEEP = """
[defaults.calibration]
data = "{rows}"
[defaults.validation]
data = "{rows}"
max_drop = "2abs"
any_reference = true
[defaults.engine]
threads = 1
[[checkpoints]]
name = "a"
checkpoint = "a"
[[checkpoints]]
name = "b"
checkpoint = "b"
[[schemes]]
name = "mode-1"
[[schemes]]
name = "mode-2"
[schemes.quantization]
mode = 2
"""
TIMES = ("seconds", "latency", "manifest")
"""What differs from run to run: a manifest has the time of the build in it."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> Path:
    """The file of a sweep of two checkpoints with two schemes."""
    folder = tmp_path_factory.mktemp("sweep")
    for seed, name in enumerate("ab"):
        write_tiny_bert(folder / name, positions=64, layers=1, seed=seed)
    path = folder / "sweep.toml"
    path.write_text(SWEEP.format(rows=rows), encoding="utf-8")
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build in this process, without processes of their own."""
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setitem(build_all().__kwdefaults__, "opened", ThreadPoolExecutor)


def build_all() -> Callable[..., Any]:
    from bertc.jobs.sweep import sweep

    return sweep


def figures(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert all(row["latency"] and row["seconds"] for row in document["builds"])
    return document | {
        "builds": [{key: value for key, value in row.items() if key not in TIMES} for row in document["builds"]]
    }


def test_the_exit_code_is_the_verdict_of_all(bertc: Bertc, here: None, file: Path, tmp_path: Path) -> None:
    called = bertc("sweep", file, "-o", tmp_path / "out", "--no-cache")
    assert called.code == 0, called.err
    lines = called.out.splitlines()
    assert [line.split()[0] for line in lines] == ["build", "a/mode-1", "a/mode-2", "b/mode-1", "b/mode-2", "page"]
    assert "[1/4] a/mode-1: passed, drop" in called.err and "left" in called.err
    strict = tmp_path / "strict.toml"
    text = file.read_text(encoding="utf-8").replace('checkpoint = "', f'checkpoint = "{file.parent}/')
    strict.write_text(text + '[schemes.validation]\ngates = ["logit_mse:0.0000000001abs"]\n', encoding="utf-8")
    called = bertc("sweep", strict, "-o", tmp_path / "out", "--no-cache", "--json")
    assert called.code == 1 and "not all passed: 2 passed, 2 not passed" in called.err
    assert "a/mode-1: unchanged, passed" in called.err, "what did not change is taken from a sweep of another file"
    assert called.json == json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))

    strict.write_text(text.replace('a"\n[[', 'c"\n[[').replace('/a"', '/c"'), encoding="utf-8")
    called = bertc("sweep", strict, "-o", tmp_path / "other", "--no-cache", "-q")
    assert called.code == 2 and "2 passed, 2 could not be built" in called.err and not called.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--workers", "0"), "--workers"),
        (("--workers", "many"), "--workers"),
        (("-o", ""), "an empty path"),
        (("-o", "{folder}/a"), "which is not replaced by a sweep"),
        (("-o", "{folder}"), "holds"),
        (("-o", "{folder}/a/out"), "lies in"),
        (("-o", "{folder}/sweep.toml"), "is what SWEEP names"),
        (("-o", "{folder}/sweep.toml/out"), "lies in"),
        (("--cache-dir", "{out}"), "not apart"),
    ],
)
def test_what_makes_no_sense_is_refused(
    bertc: Bertc, file: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "out"
    given = [flag.format(folder=file.parent, out=out) for flag in flags]
    called = bertc("sweep", file, *([] if "-o" in given else ["-o", out]), *given)
    assert called.code == 2 and words in called.err
    assert not out.exists() and sorted(path.name for path in file.parent.iterdir()) == ["a", "b", "sweep.toml"]


def test_a_wrong_file_is_refused_before_anything_is_made(bertc: Bertc, file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(file.read_text(encoding="utf-8").replace("mode = 2", "mode = 5"), encoding="utf-8")
    called = bertc("sweep", wrong, "-o", tmp_path / "out")
    assert called.code == 2 and 'schemes 2 "mode-2": quantization.mode is 5' in called.err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]
    assert bertc("sweep", file).code == 2 and bertc("sweep", "-o", tmp_path / "out").code == 2


# --- processes --------------------------------------------------------------------------------------------------------


def started(file: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    """Start a sweep in a process group of its own."""
    command = [sys.executable, "-m", "bertc", "sweep", str(file), "-o", str(out), "--no-cache", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def half(file: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A sweep that runs, and of which one build is ready and the next has begun; and its folder."""
    out = tmp_path / "out"
    with started(file, out) as process:
        working = (out / "builds/a").glob(".mode-2.bertc-*")
        for _ in range(1200):
            if any(working):
                break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
            working = (out / "builds/a").glob(".mode-2.bertc-*")
        else:
            raise AssertionError("the second build never began")
        yield process, out
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def ended(group: int) -> bool:
    """Say whether no process of a group is left, within a few seconds."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_sweep_goes_on_as_if_undisturbed(
    bertc: Bertc, here: None, half: tuple[subprocess.Popen[str], Path], file: Path, tmp_path: Path
) -> None:
    process, out = half
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert ended(process.pid), "its processes end with it"
    states = [row["state"] for row in json.loads((out / "sweep.json").read_text(encoding="utf-8"))["builds"]]
    assert states == ["pass", "waiting", "waiting", "waiting"]
    assert not (out / "builds/a/mode-2").exists()

    called = bertc("sweep", file, "-o", out, "--no-cache")
    assert called.code == 0 and "a/mode-1: unchanged" in called.err and "[3/3] b/mode-2: passed" in called.err
    assert bertc("sweep", file, "-o", tmp_path / "undisturbed", "--no-cache").code == 0
    assert figures(out) == figures(tmp_path / "undisturbed")
    assert names(out) == names(tmp_path / "undisturbed"), "nothing half written is left"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_asked_to_stop_ends_its_processes(
    half: tuple[subprocess.Popen[str], Path], number: int, code: int
) -> None:
    process, out = half
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the children are asked too
    else:
        process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and ended(process.pid)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in said
    assert sorted(path.name for path in (out / "builds/a").iterdir()) == ["mode-1"], "what was unfinished is removed"


def test_a_sweep_of_two_processes_gives_the_same_figures(bertc: Bertc, here: None, file: Path, tmp_path: Path) -> None:
    with started(file, tmp_path / "two", "--workers", "2") as process:
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "passed" in out
    assert bertc("sweep", file, "-o", tmp_path / "one", "--no-cache").code == 0
    assert figures(tmp_path / "two") == figures(tmp_path / "one")


def test_a_folder_is_swept_by_one_at_a_time(bertc: Bertc, half: tuple[subprocess.Popen[str], Path], file: Path) -> None:
    process, out = half
    called = bertc("sweep", file, "-o", out, "--no-cache")
    assert called.code == 2 and f"another build (process {process.pid}) is writing this folder" in called.err
