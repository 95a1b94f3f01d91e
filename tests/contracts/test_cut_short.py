"""A signal that comes as something unfinished is made leaves nothing behind, whichever line it cuts."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import pytest

from bertc.artefact.kinds import MODEL
from bertc.artefact.swap import artefact_folder
from bertc.artefact.triton_server import finished_model
from bertc.cache.lock import build_lock
from bertc.cli.result_files import finished_file
from bertc.core.signals import Terminated, termination_raised

LINES = 400  # more than any of them runs before its block begins

UNFINISHED: dict[str, Callable[[Path], AbstractContextManager[object]]] = {
    "lock": lambda folder: build_lock(folder / ".out.bertc-lock", out=folder / "out"),
    "artefact": lambda folder: artefact_folder(folder / "out"),
    "file": lambda folder: finished_file(folder / "out.onnx", MODEL),
    "model": lambda folder: finished_model(folder, "out"),
}


class Begun(BaseException):
    """The block began, which ends it without a result."""


@pytest.mark.parametrize("kind", UNFINISHED)
def test_a_signal_at_any_line_leaves_nothing(kind: str, tmp_path: Path) -> None:
    cut = 0
    for line in range(LINES):
        if not cut_at(line, lambda: UNFINISHED[kind](tmp_path)):
            break
        cut += 1
        assert not list(tmp_path.iterdir()), f"line {line}"
    assert 3 < cut < LINES, "the lines up to the block, all of them"


def test_what_is_not_guarded_is_found(tmp_path: Path) -> None:
    def careless() -> AbstractContextManager[object]:
        (tmp_path / "left").touch()
        return build_lock(tmp_path / ".lock", out=tmp_path)

    assert cut_at(3, careless) and list(tmp_path.iterdir())


def cut_at(line: int, begin: Callable[[], AbstractContextManager[object]]) -> bool:
    """Send SIGTERM at the given line of our own code from the beginning on; False if the block begins before it."""
    left = line
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        nonlocal left
        if not str(frame.f_globals.get("__name__")).startswith("bertc."):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
        return trace

    try:
        with termination_raised():
            sys.settrace(trace)
            with begin():
                sys.settrace(before)
                raise Begun
    except Begun:
        return False
    except Terminated:
        return True
    finally:
        sys.settrace(before)
