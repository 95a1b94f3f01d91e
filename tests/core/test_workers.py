"""Workers: results in the tasks' order, lost processes, errors as they were raised, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pytest

import bertc.core.workers
from bertc.core.lost_worker import TRIES
from bertc.core.workers import Workers, kept_open, one_ahead, workers_from_text
from bertc.errors import EnvironmentLackError, InputError, sentence_of_error

opened: list[Path] = []
READY = "BERTC_TEST_READY"
"""The variable with the folder in which workers that are ready leave a file."""


def process_of(number: int) -> tuple[int, int]:
    return number, os.getpid()


def die_at_first(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(kind: str) -> None:
    raise {
        "input": InputError("the text is wrong; write another"),
        "lack": EnvironmentLackError("there is no device; plug one in"),
        "memory": MemoryError(),
        "file": FileNotFoundError(2, "No such file or directory", "a.tsv"),
    }[kind]


def open_counted(path: Path) -> Path:
    opened.append(path)
    return path


def opened_so_often(path: Path) -> int:
    kept_open(open_counted, path)
    return len(opened)


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


def test_one_worker_is_this_process_and_has_no_other() -> None:
    with Workers() as workers:
        assert workers.alone and workers.begin(process_of, 3).result() == (3, os.getpid())
        with pytest.raises(InputError, match="the text is wrong"):
            workers.begin(refuse, "input").result()


def test_results_come_from_other_processes_in_the_order_of_the_tasks(two: Workers) -> None:
    begun = [two.begin(process_of, number) for number in range(9)]
    numbers, processes = zip(*(each.result() for each in begun), strict=True)
    assert numbers == tuple(range(9))
    assert os.getpid() not in processes and len(set(processes)) <= 2


@pytest.mark.parametrize("kind", ["input", "lack", "memory", "file"])
def test_an_error_is_the_one_that_was_raised(two: Workers, kind: str) -> None:
    with pytest.raises(Exception) as here:
        refuse(kind)
    with pytest.raises(type(here.value)) as there:
        two.begin(refuse, kind).result()
    assert sentence_of_error(there.value) == sentence_of_error(here.value)
    assert two.begin(process_of, 1).result()[0] == 1, "the workers live on"


def ready() -> None:
    """Wait for the other worker: on a busy machine the first one would have done this twice before the second is up."""
    opened.append(Path("ready"))
    here = Path(os.environ[READY])
    (here / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(here.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)


def refuse_input() -> None:
    refuse("input")


def seen_ready(_: int) -> int:
    time.sleep(0.2)  # so that both workers have a part
    return len(opened)


def test_workers_start_before_there_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(READY, str(tmp_path))
    before = set(active_children())
    with Workers(2) as workers:
        workers.start(ready)
        assert len(set(active_children()) - before) == 2
        assert {workers.begin(seen_ready, number).result() for number in range(4)} == {1}
    assert not opened, "not in this process"


def test_one_worker_has_nothing_to_start() -> None:
    before = set(active_children())
    with Workers() as workers:
        workers.start(ready)
        assert not opened and set(active_children()) == before


@pytest.mark.parametrize("start", [refuse_input, die])
def test_a_start_that_fails_is_left_to_the_tasks(start: Callable[[], None]) -> None:
    with Workers(2) as workers:
        workers.start(start)
        assert [workers.begin(process_of, number).result()[0] for number in range(4)] == [0, 1, 2, 3]


def test_a_worker_keeps_what_it_opened(two: Workers, tmp_path: Path) -> None:
    counts = [two.begin(opened_so_often, tmp_path).result() for _ in range(6)]
    assert set(counts) == {1}
    assert not opened, "nothing is opened in this process"


def test_a_process_that_the_pool_did_not_know_when_it_broke_is_not_waited_for(tmp_path: Path) -> None:
    with Workers(2) as workers:
        assert workers.begin(process_of, 0).result()[0] == 0
        unknown = get_context("spawn").Process(target=time.sleep, args=(600,))
        unknown.start()
        assert workers.begin(die_at_first, tmp_path / "marker").result() == "done"
        unknown.join(60)
        assert unknown.exitcode == -signal.SIGTERM


def test_a_task_whose_worker_is_killed_is_begun_again(two: Workers, tmp_path: Path) -> None:
    before = two.begin(process_of, 0)
    killed, beside = two.begin(die_at_first, tmp_path / "marker"), two.begin(process_of, 1)
    assert before.result()[0] == 0
    assert killed.result() == "done"
    assert beside.result()[0] == 1


def test_a_task_that_loses_its_workers_again_and_again_ends_the_job(two: Workers) -> None:
    innocent = two.begin(process_of, 0)
    with pytest.raises(EnvironmentLackError, match=f"{TRIES} times at the same work.*--workers 1"):
        two.begin(die).result()
    assert two.begin(process_of, 1).result()[0] == 1
    assert innocent.result()[0] == 0


def test_an_interrupt_ends_the_workers_at_once() -> None:
    before = set(active_children())
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
        workers.begin(time.sleep, 600)
        assert set(active_children()) - before
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 60
    assert not set(active_children()) - before


class Losing(Executor):
    """Loses the worker of each of the first tasks, then runs tasks here."""

    def __init__(self, losses: list[int]) -> None:
        self.losses = losses

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.losses[0]:
            self.losses[0] -= 1
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(function(*arguments, **named))
        return future


def test_any_executor_will_do() -> None:
    asked, losses = [], [1]

    @contextmanager
    def losing(count: int) -> Iterator[Executor]:
        asked.append(count)
        yield Losing(losses)

    with Workers(3, losing) as workers:
        begun = [workers.begin(process_of, number) for number in range(3)]
        assert [each.result()[0] for each in begun] == [0, 1, 2]
    assert asked == [3, 3], "another one for the lost one"


@pytest.mark.parametrize("text", ["0", "-1", "two", "", "1.5", "257", "\u0661", "0256123", "99999999999999999999"])
@pytest.mark.parametrize("kind", ["", "ray:"])
def test_what_is_no_number_of_workers_is_refused(kind: str, text: str) -> None:
    with pytest.raises(InputError, match=f"'{kind}{text}' is no number of workers; give one from 1 to 256.*ray:N"):
        workers_from_text(kind + text)


@pytest.mark.parametrize("text", ["Ray", "rays", "ray2", "ray:2:2", "dask:2", ":2"])
def test_what_names_no_workers_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no number of workers"):
        workers_from_text(text)


@pytest.mark.parametrize("text", ["ray", "ray:1", "ray:2"])
def test_without_ray_its_extra_is_named_before_anything_begins(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentLackError, match=r"Ray is not installed; run: pip install 'bertc\[ray\]'"):
        workers_from_text(text)


@pytest.mark.parametrize(("text", "count"), [("ray", 0), ("ray:1", 1), ("ray:2", 2)])
def test_actors_have_a_thread_each_and_are_never_this_process(
    text: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bertc.core.workers, "check_ray", lambda: None)
    workers = workers_from_text(text)
    assert (workers.count, workers.threads, workers.alone) == (count, 1, False)


def test_ray_is_not_imported_where_nobody_asks_for_it() -> None:
    code = "import sys, bertc.core.workers as w; w.workers_from_text('2'); sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_number_of_workers_is_read() -> None:
    assert [workers_from_text(text).count for text in ("1", "2", "256")] == [1, 2, 256]


def test_one_ahead_begins_the_next_before_the_one_before_is_used_up() -> None:
    begun = []

    def items() -> Iterator[int]:
        for number in range(3):
            begun.append(number)
            yield number

    assert [(item, len(begun)) for item in one_ahead(items())] == [(0, 2), (1, 3), (2, 3)]
    assert list(one_ahead([])) == []
