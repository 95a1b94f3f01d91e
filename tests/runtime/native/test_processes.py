"""The native engine in processes: after a fork, opened many times, and left open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bertc
from bertc.runtime.plan.plan_files import write_plan
from tests.runtime.plan.compiled_plans import Compiled

pytestmark = pytest.mark.native

START = """
import os, sys, threading, warnings
from pathlib import Path
import numpy as np
from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.runtime.fork_guard import ForkGuard
from bertc.runtime.native.native_engine import open_plan
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own advice against forking beside threads
plan = Path(sys.argv[1])
def batch(rows, length, seed=0):
    ids = np.random.default_rng(seed).integers(5, 100, (rows, length))
    return Batch(input_ids=ids, token_type_ids=ids * 0, mask=ids * 0 + 1, order=tuple(range(rows)))
"""
FORK = """
engine = ForkGuard(open_plan(plan, threads=3))
before = engine.run(batch(4, 20), ["logits"])[0].tobytes()
child = os.fork()
if child == 0:
    try:
        engine.run(batch(4, 20), ["logits"])
    except InputError as error:
        print(error, flush=True)
    engine.close()
    own = open_plan(plan, threads=2)
    assert own.run(batch(4, 20), ["logits"])[0].tobytes() == before
    del own
    os._exit(0) if sys.argv[2] == "exit at once" else sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert engine.run(batch(4, 20), ["logits"])[0].tobytes() == before
"""
MEMORY = """
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
def threads():
    return len(os.listdir("/proc/self/task"))
"""
OPENINGS = """
import gc
def use(closed):
    engine = open_plan(plan, threads=4)
    engine.run(batch(3, 30), ["logits"])
    engine.run(batch(40, 30), ["logits"])
    if closed:
        engine.close()
for turn in range(60):
    use(turn % 2)
before, tasks = resident(), threads()
for turn in range(200):
    use(turn % 2)
gc.collect()
assert threads() == tasks, (threads(), tasks)
assert resident() < before + 2048, (resident(), before)
"""
CALLS = """
generator = np.random.default_rng(0)
engine = open_plan(plan, threads=2)
def call(turn):
    engine.run(batch(int(generator.integers(1, 9)), int(generator.integers(1, 129)), turn), ["logits"])
for turn in range(300):
    call(turn)
before = resident()
for turn in range(2700):
    call(turn)
assert resident() < before + 2048, (resident(), before)
"""


@pytest.fixture(scope="module")
def plan_path(int8: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(*int8, tmp_path_factory.mktemp("plan"))


def run_script(script: str, *arguments: str | Path) -> str:
    """Run a script in a process of its own, which has to end well."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(bertc.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("end", ["exit at once", "exit"])
def test_a_forked_child_opens_its_own_and_ends(end: str, plan_path: Path) -> None:
    """It is refused the parent's, may open another, and does not wait for threads that it does not have."""
    assert "call bertc.load in the child" in run_script(START + FORK, plan_path, end)


@pytest.mark.serial
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("script", [OPENINGS, CALLS], ids=["openings", "calls"])
def test_memory_and_threads_do_not_grow(script: str, plan_path: Path) -> None:
    run_script(START + MEMORY + script, plan_path)


def test_an_engine_left_open_does_not_hold_up_the_process(plan_path: Path) -> None:
    run_script(START + "engine = open_plan(plan, threads=3)\nengine.run(batch(2, 9), ['logits'])", plan_path)
