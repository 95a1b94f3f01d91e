"""An executor of Ray's actors: order, errors in their own types, lost actors, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Event
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bertc.core.lost_worker import TRIES
from bertc.core.ray_cluster import joined_cluster
from bertc.core.ray_executor import RayExecutor, open_ray
from bertc.core.workers import Workers
from bertc.errors import EnvironmentLackError, InputError

ray = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """Give an executor of one actor in a cluster of this machine's own."""
    pytest.importorskip("ray", reason="needs the extra ray")
    with open_ray(1) as opened:  # of two cores or more: another executor has one too
        yield opened


def process_of(number: int) -> tuple[int, int]:
    return os.getpid(), number


def refuse() -> None:
    raise InputError("it is wrong; do it right")


def lost_at_first(place: Path) -> str:
    """End the process, the first time."""
    if not place.exists():
        place.touch()
        os._exit(1)
    return "done"


def lost(begun: Path) -> None:
    """End the process, and leave a line for each time."""
    with begun.open("a") as stream:
        stream.write("begun\n")
    os._exit(1)


def sleep_long(begun: Path) -> None:
    begun.write_text(str(os.getpid()))
    time.sleep(600)


def process_in(begun: Path) -> int:
    """Wait for the process that a task writes down."""
    while not begun.exists() or not begun.read_text():
        time.sleep(0.02)
    return int(begun.read_text())


PROGRAM = """
import sys
from pathlib import Path
from bertc.core.ray_executor import open_ray
from bertc.core.signals import Terminated, termination_raised
from bertc.core.workers import Workers
from tests.core.test_ray_executor import sleep_long
try:
    with termination_raised(), Workers(1, open_ray) as workers:
        workers.begin(sleep_long, Path(sys.argv[1])).result()
except Terminated:
    sys.exit(143)
"""


class TestWithRay:
    pytestmark = ray

    def test_results_are_those_of_the_tasks_and_another_process_does_them(self, executor: Executor) -> None:
        found = [future.result() for future in [executor.submit(process_of, number) for number in range(20)]]
        assert [number for _, number in found] == list(range(20))
        assert len({process for process, _ in found}) == 1 and os.getpid() not in dict(found)

    def test_a_task_s_error_keeps_its_type(self, executor: Executor) -> None:
        with pytest.raises(InputError, match="it is wrong; do it right"):
            executor.submit(refuse).result()

    def test_a_task_whose_actor_is_lost_is_begun_again(self, executor: Executor, tmp_path: Path) -> None:
        assert executor.submit(lost_at_first, tmp_path / "begun").result() == "done"

    def test_workers_begin_a_task_that_is_lost_thrice_in_all_and_the_next_is_done(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        workers = Workers(0, lambda count: nullcontext(executor))
        begun = tmp_path / "begun"
        with pytest.raises(EnvironmentLackError, match=r"3 times at the same work.*--workers 1"):
            workers.begin(lost, begun).result()
        assert len(begun.read_text().splitlines()) == TRIES
        assert workers.begin(process_of, 1).result()[1] == 1

    def test_what_an_actor_without_a_core_would_do_is_done_by_the_others(self, executor: Executor) -> None:
        import ray

        cores = int(ray.cluster_resources()["CPU"])
        more = RayExecutor(cores + 1)  # beside the two that have cores
        found = [future.result() for future in [more.submit(process_of, number) for number in range(9)]]
        more.shutdown()
        assert [number for _, number in found] == list(range(9))

    def test_a_block_that_raises_ends_what_its_actors_are_at(self, executor: Executor, tmp_path: Path) -> None:
        before, begun = time.monotonic(), tmp_path / "begun"
        with pytest.raises(KeyboardInterrupt), open_ray(1) as opened:
            future = opened.submit(sleep_long, begun)
            process_in(begun)
            raise KeyboardInterrupt
        assert time.monotonic() - before < 60 and isinstance(future.exception(), BrokenExecutor)

    def test_no_number_is_as_many_as_the_cluster_has_cores(self, executor: Executor) -> None:
        import ray

        with open_ray(0) as opened:
            assert len(opened._threads) == int(ray.cluster_resources()["CPU"])

    def test_what_cannot_be_pickled_is_an_error_of_the_task(self, executor: Executor) -> None:
        with pytest.raises(TypeError):
            executor.submit(process_of, sys._getframe()).result()  # type: ignore[arg-type]

    def test_an_executor_that_is_shut_down_takes_nothing(self, executor: Executor) -> None:
        other = RayExecutor(1)
        other.shutdown()
        with pytest.raises(RuntimeError, match="shut down"):
            other.submit(process_of, 1)


@pytest.mark.ray
def test_sigterm_is_the_program_s_in_a_cluster_of_its_own_and_ends_the_actors(tmp_path: Path) -> None:
    root, begun = str(Path(__file__).parents[2]), tmp_path / "begun"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", PROGRAM, str(begun)]
    with subprocess.Popen(command, env=environment | {"PYTHONPATH": root}, cwd=root) as program:
        while not begun.exists():
            assert program.poll() is None
            time.sleep(0.05)
        actor = process_in(begun)
        program.terminate()
        assert program.wait(60) == 143
    end = time.monotonic() + 20
    while Path(f"/proc/{actor}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{actor}").exists()


@pytest.mark.parametrize("starts", [True, False])
def test_what_the_program_does_at_sigterm_stays_where_a_cluster_starts_or_does_not(
    starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: object, **__: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not starts:
            raise RuntimeError("a node does not start")

    ray = ModuleType("ray")
    ray.__spec__ = ModuleSpec("ray", None)
    found = {"is_initialized": lambda: False, "init": init, "cluster_resources": dict, "shutdown": lambda: None}
    for name, value in found.items():
        setattr(ray, name, value)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        own = signal.getsignal(signal.SIGTERM)
        refused = pytest.raises(EnvironmentLackError, match="of this machine cannot be started: a node does not start")
        with nullcontext() if starts else refused, joined_cluster() as cluster:
            assert cluster.cores == 1
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_where_no_actor_can_be_started_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = Event()

    def remote(_: object) -> None:
        assert submitted.wait(60)
        raise RuntimeError("the cluster is gone")

    ray = ModuleType("ray")
    monkeypatch.setattr(ray, "remote", remote, raising=False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    executor = RayExecutor(2)
    futures = [executor.submit(process_of, number) for number in range(3)]
    submitted.set()
    for future in futures:
        with pytest.raises(EnvironmentLackError, match="starts no actors: the cluster is gone; start it again"):
            future.result(timeout=30)
    with pytest.raises(EnvironmentLackError, match="starts no actors"):
        executor.submit(process_of, 3)
    executor.shutdown()


def test_a_task_that_is_lost_when_the_other_actors_have_ended_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, release = Event(), Event()
    actor = SimpleNamespace(begin=SimpleNamespace(remote=lambda: "begun"), do=SimpleNamespace(remote=lambda call: call))

    class LostError(Exception):
        """What Ray raises of an actor that is gone."""

    def get(what: object) -> None:
        if what != "begun":
            begun.set()
            assert release.wait(60)
            raise LostError

    def remote(_: object) -> Any:
        if release.is_set():
            raise RuntimeError("the cluster is gone")
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: actor))

    ray = ModuleType("ray")
    names = ("RayActorError", "NodeDiedError", "OutOfMemoryError")
    played = {
        "remote": remote,
        "get": get,
        "wait": lambda what, timeout: (what, []),
        "kill": lambda actor: None,
        "exceptions": SimpleNamespace(**dict.fromkeys(names, LostError)),
    }
    for name, value in played.items():
        monkeypatch.setattr(ray, name, value, raising=False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    executor = RayExecutor(2)
    future = executor.submit(process_of, 0)
    assert begun.wait(60)
    executor.shutdown(wait=False)
    while all(thread.is_alive() for thread in executor._threads):  # the one without a task ends
        time.sleep(0.01)
    release.set()
    with pytest.raises(EnvironmentLackError, match="starts no actors: the cluster is gone"):
        future.result(timeout=30)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(EnvironmentLackError, match=r"Ray is not installed; run: pip install 'bertc\[ray\]'"),
        joined_cluster(),
    ):
        pass
