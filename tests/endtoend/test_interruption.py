"""A build that is killed, stopped or disturbed: OUT stays as it was, and the next build goes on from what is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.endtoend.conftest import Bertc, Place, contents, names, report_of

# A build that at the stage STAGE either sends itself a signal or waits until its stdin is closed.
SCRIPT = """
import os, sys, time
stage, what, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
from bertc.cli import progress

class Stops(progress.StageLines):
    def stage(self, name, total=None):
        super().stage(name, total)
        if name != stage:
            return
        print("reached", flush=True)
        if what.isdigit():
            os.kill(os.getpid(), int(what))
            time.sleep(60)
        sys.stdin.read()

progress.StageLines, plain = Stops, progress.StageLines
from bertc.cli.main import run
sys.exit(run(arguments))
"""
KEPT = ("calibrate", "correct", "evaluate-float", "evaluate-engine", "sensitivity")


def command(stage: str, what: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-c", SCRIPT, stage, what, *arguments]


def stopped_build(stage: str, number: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(stage, str(number), arguments), capture_output=True, text=True, timeout=120, check=False
    )
    assert "reached" in done.stdout, done.stderr
    return done


def figures(out: Path) -> dict[str, object]:
    report = report_of(out)
    return {name: report[name] for name in ("accuracy", "metrics", "gates", "worst_sites", "sites", "quantization")}


@pytest.mark.parametrize(
    ("stage", "finished"), [("calibrate", ()), ("quantize and export", KEPT[:2]), ("latency", KEPT)]
)
def test_a_killed_build_leaves_nothing_and_the_next_one_goes_on(
    bertc: Bertc, place: Place, artefact: Path, tmp_path: Path, stage: str, finished: tuple[str, ...]
) -> None:
    out, cache = tmp_path / "work" / "out", ("--cache-dir", str(tmp_path / "cache"))
    arguments = [argument for argument in place.build(out) if argument != "--no-cache"] + [*cache]
    killed = stopped_build(stage, signal.SIGKILL, arguments)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()

    again = subprocess.run(command("never", "0", arguments), capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    reused = {name for name in KEPT if f"{name}: unchanged, taken from the cache" in again.stderr}
    assert reused == set(finished)
    assert {part["name"] for part in report_of(out)["stages"] if part["cached"]} == set(finished)
    assert names(tmp_path / "work") == {"out"}, "what the killed build left is removed"
    assert figures(out) == figures(artefact)


def test_a_killed_build_leaves_the_old_artefact_as_it_was(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert bertc(*place.build(out)).code == 0
    before = contents(out)
    stopped_build("latency", signal.SIGKILL, place.build(out, "--int8-mode", "2"))
    assert contents(out) == before
    assert bertc("predict", out, "--text", "good film").code == 0
    assert bertc(*place.build(out, "--int8-mode", "2")).code == 0
    assert report_of(out)["quantization"]["mode"] == 2
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "inter")]
)
@pytest.mark.parametrize("stage", ["read", "calibrate", "latency"])
def test_a_build_that_is_asked_to_stop_removes_what_it_made(
    place: Place, tmp_path: Path, stage: str, number: int, code: int, word: str
) -> None:
    out = tmp_path / "work" / "out"
    done = stopped_build(stage, number, place.build(out))
    assert done.returncode == code
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {word}")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "work").exists() or not names(tmp_path / "work")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_from_outside_leaves_the_old_artefact_as_it_was(
    bertc: Bertc, place: Place, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    assert bertc(*place.build(out)).code == 0
    before = contents(out)
    with subprocess.Popen(
        command("latency", "wait", place.build(out)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
        process.send_signal(number)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert error.splitlines()[-1].startswith("error: ")
    assert contents(out) == before
    assert names(tmp_path) == {"out"}


def test_two_builds_into_one_folder_exclude_each_other(bertc: Bertc, place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        command("latency", "wait", place.build(out)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "reached\n"
        second = bertc(*place.build(out))
        other = bertc(*place.build(tmp_path / "other"))
        first.communicate(timeout=120)
    assert second.code == 2
    assert f"process {first.pid}" in second.error
    assert str(out) in second.error
    assert other.code == 0, "another folder is no conflict"
    assert first.returncode == 0
    assert names(tmp_path) == {"out", "other"}
    assert bertc("validate", out, "--validation-data", place.dev).code == 0


@pytest.mark.parametrize("command", ["inspect", "compare", "validate", "doctor"])
def test_nobody_reads_the_output_any_more(artefact: Path, place: Place, command: str) -> None:
    arguments = {
        "inspect": [str(artefact)],
        "compare": [str(artefact), str(artefact)],
        "validate": [str(artefact), "--validation-data", str(place.dev)],
        "doctor": [],
    }[command]
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-c", "from bertc.cli.main import main; main()"]
    done = subprocess.run(
        [*program, command, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writing)
    assert done.returncode == 141, "1 would be a verdict"
    assert "Traceback" not in done.stderr
