"""--workers: the same bits for any number of processes, one that is killed included, and none left when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert
from tests.shared_work import ROWS, building, calibrating, found_by_build, validating, write_rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows."""
    return write_rows(tmp_path_factory.mktemp("many") / "rows.tsv")


def test_a_table_has_the_same_bits_for_any_number(bertc: Bertc, classifier: Path, many: Path, tmp_path: Path) -> None:
    texts: list[bytes] = []
    for number, seed in ((1, 0), (2, 0), (3, 0), (1, 1)):
        out = tmp_path / f"{len(texts)}.json"
        flags = ("--seed", seed, "--per-site", "smoothing", "--workers", number)
        called = bertc(*calibrating(classifier, many, out), *flags)
        assert called.code == 0, called.err
        texts.append(out.read_bytes())
    assert len(set(texts[:3])) == 1 and texts[3] != texts[0]


def test_more_workers_than_batches_are_fine(bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    few = ("--calibration-samples", "2")
    for number in (1, 3):
        out = tmp_path / f"{number}.json"
        assert bertc(*calibrating(classifier, rows, out), *few, "--workers", number).code == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "3.json").read_bytes()


def test_a_build_has_the_same_bits_for_any_number(bertc: Bertc, classifier: Path, many: Path, tmp_path: Path) -> None:
    def build(out: str, number: int, *cache: str) -> str:
        called = bertc(*building(classifier, many, tmp_path / out), "--workers", number, *cache)
        assert called.code == 0, called.err
        return called.err

    cache = ("--cache-dir", str(tmp_path / "cache"))
    build("one", 1, *cache)
    build("two", 2, "--no-cache")
    said = build("again", 2, *cache)
    one, two, again = (found_by_build(tmp_path / name) for name in ("one", "two", "again"))
    assert one == two == again
    for stage in ("calibrate", "evaluate-float", "evaluate-engine"):
        assert f"{stage}: unchanged, taken from the cache" in said, "who computed is no part of a key"


@pytest.mark.parametrize("kind", ["artefact", "ort_artefact"])
def test_a_validation_has_the_same_bits_for_any_number(
    bertc: Bertc, request: pytest.FixtureRequest, classifier: Path, many: Path, kind: str
) -> None:
    artefact = request.getfixturevalue(kind)
    called = [bertc(*validating(artefact, classifier, many), "--workers", number) for number in (1, 3)]
    assert called[0].code in (0, 1), called[0].err
    assert len({(each.code, each.out) for each in called}) == 1
    assert called[0].json["accuracy"]["samples"] == ROWS  # type: ignore[index]


def test_the_rows_of_a_build_are_found_again(bertc: Bertc, artefact: Path, rows: Path) -> None:
    called = [bertc("validate", artefact, "--validation-data", rows, "--json", "--workers", n) for n in (1, 2)]
    assert called[0].out == called[1].out and not called[1].json["notes"]


def test_an_error_in_a_worker_is_the_one_of_a_single_process(bertc: Bertc, rows: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_bert(tmp_path / "model", dtype="float32")
    (file,) = checkpoint.glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layer.1.intermediate.dense.weight"))
    save_file(weights | {name: weights[name] * np.float32(1e38)}, file)
    out = tmp_path / "table.json"
    called = [bertc(*calibrating(checkpoint, rows, out), "-q", "--workers", number) for number in (1, 2)]
    assert called[0].code == called[1].code == 2
    assert called[0].err == called[1].err and "is not finite on the calibration text" in called[1].err
    assert not out.exists()


@pytest.mark.parametrize("number", ["0", "-1", "two", "257", ""])
@pytest.mark.parametrize("command", ["calibrate", "validate", "build"])
def test_what_is_no_number_is_refused(
    bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, command: str, number: str
) -> None:
    out = tmp_path / "out"
    words = {
        "calibrate": calibrating(classifier, rows, out),
        "validate": validating(classifier, classifier, rows),
        "build": ["build", str(classifier), "-o", str(out), "--unvalidated"],
    }[command]
    called = bertc(*words, f"--workers={number}")
    assert called.code == 2 and "is no number of workers; give one from 1 to 256" in called.err
    assert not out.exists()


@pytest.mark.parametrize("command", ["calibrate", "validate", "build"])
def test_without_ray_its_extra_is_named(
    bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"
    words = {
        "calibrate": calibrating(classifier, rows, out),
        "validate": validating(classifier, classifier, rows),
        "build": ["build", str(classifier), "-o", str(out), "--unvalidated"],
    }[command]
    called = bertc(*words, "--workers=ray:2")
    assert called.code == 3 and "Ray is not installed; run: pip install 'bertc[ray]'" in called.err
    assert not out.exists()


# --- processes --------------------------------------------------------------------------------------------------------


def started(words: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command with two workers in a process group of its own."""
    command = [sys.executable, "-m", "bertc", *words, "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Wait for a command's two workers and return their ids."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("the system does not tell a process's children")
    for _ in range(1200):
        assert process.poll() is None, process.stderr and process.stderr.read()
        found = [int(child) for child in children.read_text().split()]
        workers = [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        if len(workers) == 2:
            return workers
        time.sleep(0.02)
    raise AssertionError("the workers never began")


def has_ended(group: int) -> bool:
    """Say whether no process of a group is left, within a few seconds."""
    for _ in range(400):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_worker_changes_nothing(bertc: Bertc, ort_artefact: Path, classifier: Path, many: Path) -> None:
    words = validating(ort_artefact, classifier, many)
    undisturbed = bertc(*words)
    with started(words) as process:
        os.kill(workers_of(process)[1], signal.SIGKILL)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (undisturbed.code, undisturbed.out), err
    assert has_ended(process.pid)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_a_command_leaves_no_worker(
    classifier: Path, many: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "table.json"
    with started(calibrating(classifier, many, out)) as process:
        workers_of(process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        said, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    assert err.splitlines()[-1].endswith("no result is left half-written") and not said
    assert "Traceback" not in err
    assert has_ended(process.pid) and not out.exists()


def test_workers_do_not_outlive_their_command(classifier: Path, many: Path, tmp_path: Path) -> None:
    with started(calibrating(classifier, many, tmp_path / "table.json")) as process:
        workers_of(process)
        process.kill()
        process.communicate(timeout=100)
    assert has_ended(process.pid)
