"""Memory that was freed: kept by a worker, given back by other processes."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

from bertc.core.processes import open_processes

ARRAYS, ROUNDS, NUMBERS = 30, 20, 1 << 17
PAGES = ARRAYS * NUMBERS * 8 // 4096


@pytest.fixture(autouse=True)
def glibc() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the memory of another C library")


def pages_made() -> int:
    """Fill 30 MiB again and again, and return how many pages the system made for that."""
    import resource

    def made() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    before = made()
    for _ in range(ROUNDS):
        arrays = [np.ones(NUMBERS) for _ in range(ARRAYS)]
        del arrays
    return made() - before


def test_a_worker_keeps_them() -> None:
    with open_processes(1) as pool:
        assert pool.submit(pages_made).result() < 3 * PAGES


def test_another_process_does_not() -> None:
    code = "from tests.core.test_freed_memory import pages_made; print(pages_made())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10 * PAGES
