"""A fork after `bertc.load`: the child is told what to do and does not hang; the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bertc
from bertc.cli.main import run
from bertc.errors import EnvironmentLackError, InputError
from bertc.jobs.predict import predictor_from_path
from bertc.runtime.native.library import check_library

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(bertc.__file__).parents[1])}
SCRIPT = """
import os, sys, warnings
import bertc
from bertc.errors import InputError
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own advice against forking beside threads
out, threads, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with bertc.load(out, threads=threads) as model:
    before = model.predict("good film")
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert model.predict("good film") == before
        sys.exit(code)
    if what == "run":
        try:
            model.predict("good film")
        except InputError as error:
            print(error, flush=True)
    elif what == "close":
        model.close()
    del model
    os._exit(0)  # as multiprocessing does: by sys.exit a child of whoever imported onnxruntime does not end
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("what", ["run", "close", "end"])
def test_a_child_ends_and_is_told_to_load_its_own(artefact: Path, what: str, threads: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(artefact), str(threads), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert ("call bertc.load in the child, after the fork" in done.stdout) == (what == "run")


@pytest.fixture(
    scope="module",
    params=[pytest.param("openvino", marks=pytest.mark.openvino), pytest.param("native", marks=pytest.mark.native)],
)
def of_another_runtime(
    request: pytest.FixtureRequest, classifier: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny classifier's artefact of another target."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    else:
        try:
            check_library()
        except EnvironmentLackError as lack:
            pytest.skip(str(lack))
    out = tmp_path_factory.mktemp("artefact") / "out"
    data = ("--calibration-data", rows, "--unvalidated", "--target", request.param, "--no-cache", "-q")
    assert run([str(part) for part in ("build", classifier, "-o", out, *data)]) == 0
    return out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("what", ["run", "close", "end"])
def test_a_child_of_another_runtime_ends_too(of_another_runtime: Path, what: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(of_another_runtime), "2", what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr


def test_what_was_closed_says_so(artefact: Path) -> None:
    check_closed(artefact)


def test_what_was_closed_says_so_of_another_runtime(of_another_runtime: Path) -> None:
    check_closed(of_another_runtime)


def check_closed(artefact: Path) -> None:
    with predictor_from_path(artefact) as model:
        assert model.predict("good film")
    with pytest.raises(InputError, match="this artefact was closed; call bertc"):
        model.predict("good film")
    model.close()
