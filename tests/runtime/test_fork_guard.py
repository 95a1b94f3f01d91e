"""A fork after `bertc.load`: the child is told what to do and does not hang; the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bertc
from tests.artefacts import Bertc, PathOf

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("what", ["run", "close", "end"])
@pytest.mark.parametrize(
    "target",
    [pytest.param("openvino", marks=pytest.mark.openvino), pytest.param("native", marks=pytest.mark.native)],
)
def test_a_child_of_another_runtime_ends_too(
    bertc: Bertc, classifier: Path, data_of: PathOf, tmp_path: Path, target: str, what: str
) -> None:
    if target == "openvino":
        pytest.importorskip("openvino")
    rows = data_of("sequence-classification")
    data = ("--calibration-data", rows, "--unvalidated", "--target", target, "--no-cache", "-q")
    assert bertc("build", classifier, "-o", tmp_path / "out", *data).code == 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out"), "2", what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
