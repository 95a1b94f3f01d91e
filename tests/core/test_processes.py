"""Processes for long work: what an interrupt does to them, and to the process that opened them."""

from __future__ import annotations

import signal
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import pytest

from bertc.core.processes import open_processes

SIGINT = 1 << signal.SIGINT - 1


def masks(pid: int | str, *names: str) -> int:
    """Read which signals a process has in the named masks of Linux's /proc, as bits."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("the system does not tell a process's masks of signals")
    fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    bits = 0
    for name in names:
        bits |= int(fields[name], 16)
    return bits


def test_an_interrupt_never_reaches_a_process_that_starts() -> None:
    before = set(active_children())
    with open_processes(2) as pool:
        begun = [pool.submit(masks, "self", "SigIgn") for _ in range(2)]
        children = set(active_children()) - before
        assert children
        for child in children:  # Python has not begun in them, or only just
            assert masks(child.pid or 0, "SigBlk", "SigIgn") & SIGINT
        assert all(each.result() & SIGINT for each in begun)


def test_the_process_that_opened_them_takes_interrupts() -> None:
    with open_processes(1) as pool:
        assert pool.submit(abs, -1).result() == 1
        assert not masks("self", "SigBlk", "SigIgn") & SIGINT


HALF_STARTED = """
import os, signal
from multiprocessing import util
from bertc.core.processes import open_processes
from bertc.core.signals import Terminated, termination_raised

start, started = util.spawnv_passfds, []

def start_and_end(*arguments):
    started.append(start(*arguments))
    signal.raise_signal(signal.SIGTERM)  # before the process was told what it is to be
    return started[-1]

if __name__ == "__main__":
    with open_processes(1) as pool:  # which starts what multiprocessing needs beside it
        pool.submit(abs, -1).result()
    util.spawnv_passfds = start_and_end
    try:
        with termination_raised(), open_processes(2) as pool:
            pool.submit(abs, -1)
            print("the signal was lost")
    except Terminated:
        print("ended")
    for pid in started:
        try:
            os.waitpid(pid, 0)
            print("a process was left")
        except ChildProcessError:
            print("waited for")
"""


def test_an_end_does_not_leave_a_process_half_started(tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # a process of its own: what it does with SIGTERM is no other test's
    program.write_text(HALF_STARTED, encoding="utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\nwaited for\n", "")
