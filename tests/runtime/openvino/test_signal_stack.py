"""Signals find a stack after engines were closed in any order: else Ctrl-C would be a segmentation fault."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from bertc.runtime.openvino.compiled_model import openvino_core
from bertc.targets import target_from_name
from tests.tiny import TinyModel, quantized, tiny_scheme

TARGET = target_from_name("openvino")
pytestmark = [pytest.mark.openvino, pytest.mark.usefixtures("openvino_int8")]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PROGRAM = """
import gc, signal, sys
from pathlib import Path
from bertc.targets import target_from_name
from tests.runtime.openvino.test_signal_stack import signal_stack

class Ended(BaseException):
    pass

def end(number, frame):
    raise Ended

signal.signal(signal.SIGTERM, end)
engines = [target_from_name("openvino").runtime.engine_from_path(Path(sys.argv[1]), threads=1) for _ in range(3)]
while engines:
    engines.pop(0).close()
    gc.collect()
    assert signal_stack() != "unmapped"
try:
    signal.raise_signal(signal.SIGTERM)
except Ended:
    print("handled")
"""


class Stack(ctypes.Structure):
    """What sigaltstack(2) says."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> str:
    """Say whether this thread's stack for signal handlers is `none`, `mapped` or `unmapped`."""
    stack = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    if not stack.start:
        return "none"
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    return "mapped" if any(begin <= stack.start < end for begin, end in ranges) else "unmapped"


def written(model: TinyModel, folder: Path) -> Path:
    graph = quantized(model, tiny_scheme("1")).graph
    return TARGET.runtime.write_model(TARGET.onnx_from_graph(graph), folder)


@linux
def test_a_signal_is_handled_after_engines_were_closed_in_the_order_of_their_opening(
    tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path = written(tiny_classifier, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@linux
def test_a_stack_that_is_not_there_is_seen() -> None:
    assert signal_stack() != "unmapped"
    program = (
        "import ctypes\n"
        "from tests.runtime.openvino.test_signal_stack import Stack, signal_stack\n"
        "ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(start=4096, flags=0, size=1 << 16)), None)\n"
        "print(signal_stack())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "unmapped\n"


def test_all_engines_share_what_lives_as_long_as_the_process() -> None:
    assert openvino_core() is openvino_core()
