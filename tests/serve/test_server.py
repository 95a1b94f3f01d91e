"""The process: names of artefacts, what keeps it from starting, signals, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.serve.models import Models
from bertc.serve.server import _Reloading, named_folders
from tests.artefacts import Bertc, let_fail


def test_artefacts_are_called_as_their_folders_or_as_is_said(tmp_path: Path) -> None:
    assert named_folders([str(tmp_path / "out"), "b=out"]) == {"out": tmp_path / "out", "b": Path("out")}
    assert named_folders(["./lr=1/out", "c=lr=2/out"]) == {"out": Path("./lr=1/out"), "c": Path("lr=2/out")}
    assert named_folders(["."]) == {Path.cwd().name: Path()}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["a", "x/a"], "two artefacts have the name a"),
        (["v1=a"], "'v1' cannot be"),
        (["metrics=a"], "'metrics' cannot be"),
        (["=a"], "'' cannot be"),
        (["a="], "names no folder"),
        (["a/b=c"], "'b=c' cannot be a model's name in a path; give it another one: NAME=a/b=c"),
        (["two words"], "'two words' cannot be"),
    ],
)
def test_names_that_cannot_stand_in_a_path_are_refused(given: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        named_folders(given)


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `bertc serve`; give the process and its URL, and kill it where the test has not ended it."""
    command = [sys.executable, "-m", "bertc", "serve", "--port", "0", "--threads", "1", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            line = started.stderr.readline()
            found = re.fullmatch(r"serving at (http://127\.0\.0\.1:\d+)\n", line)
            assert found, line + started.stderr.read()
            yield started, found[1]
        finally:
            started.kill()


def ask(url: str, body: Any) -> Any:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as response:
        return json.loads(response.read())


def test_it_answers_takes_a_new_artefact_and_ends_with_what_it_took_on(artefact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artefact, tmp_path / "model"))
    with process(folder) as (started, url):
        wanted = ask(f"{url}/predict", {"inputs": "good film"})
        os.kill(started.pid, signal.SIGHUP)
        assert started.stderr is not None
        assert "model was opened again" in next(line for line in started.stderr if "opened" in line)
        (folder / "report.json").unlink()
        os.kill(started.pid, signal.SIGHUP)
        assert "model stays as it was" in next(line for line in started.stderr if "stays" in line)
        assert ask(f"{url}/predict", {"inputs": "good film"}) == wanted
        answers: list[Any] = []
        texts = [["good film " * 40]] * 400
        asked = threading.Thread(target=lambda: answers.append(ask(f"{url}/predict", {"inputs": texts})))
        asked.start()
        time.sleep(0.1)  # it is under way: accepted, and not answered yet
        started.terminate()
        assert started.wait(30) == 0
        asked.join(30)
        assert len(answers[0]) == 400


class Opened:
    """A model of which `loads` counts how often it was opened, or that raises what it is given."""

    predictor = SimpleNamespace(choice="")

    def __init__(self, name: str, fault: Exception | None = None) -> None:
        self.name = name
        self.fault = fault
        self.loads = 0

    async def load(self) -> None:
        self.loads += 1
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize("fault", [InputError("a is damaged"), MemoryError(), RuntimeError("the runtime's own")])
def test_whatever_keeps_an_artefact_from_being_opened_again_is_logged_and_the_others_are_opened(
    fault: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bertc.serve"), "propagate", True)  # a server that ran here takes it away

    async def asked_twice(*models: Any) -> None:
        reloading = _Reloading(Models(models))
        try:
            for loads in (1, 2):
                os.kill(os.getpid(), signal.SIGHUP)
                while models[-1].loads < loads:
                    await asyncio.sleep(0.001)
        finally:
            await reloading.end()

    with caplog.at_level(logging.INFO, "bertc.serve"):
        asyncio.run(asyncio.wait_for(asked_twice(Opened("a", fault), Opened("b")), 10))
    said = [record.getMessage() for record in caplog.records]
    assert sum("a stays as it was: " in text and len(text) > 30 for text in said) == 2
    assert sum("b was opened again" in text for text in said) == 2


def test_what_cannot_be_served_is_said_before_it_listens(artefact: Path, tmp_path: Path, bertc: Bertc) -> None:
    called = bertc("serve", tmp_path, "--port", "0")
    assert called.code == 2 and "no manifest.json" in called.err
    called = bertc("serve", let_fail(Path(shutil.copytree(artefact, tmp_path / "failed"))), "--port", "0")
    assert called.code == 2 and "did not pass its gates" in called.err and "--allow-failed" in called.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        called = bertc("serve", artefact, "--port", taken.getsockname()[1])
    assert called.code == 3 and "choose another --port" in called.err
    called = bertc("serve", artefact, "--ssl-certfile", __file__)
    assert called.code == 2 and "give both" in called.err
    called = bertc("serve", artefact, "--ssl-certfile", __file__, "--ssl-keyfile", artefact / "manifest.json")
    assert called.code == 2 and f"{__file__} and {artefact / 'manifest.json'}" in called.err and "PEM" in called.err
    called = bertc("serve", artefact, "--host", "")
    assert called.code == 2 and "every interface" in called.err
    for host in ("192.0.2.1", "no-such-host.invalid"):
        called = bertc("serve", artefact, "--host", host, "--port", "0")
        assert called.code == 3 and "choose another --host" in called.err


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "0"])
def test_seconds_are_finite_numbers(artefact: Path, bertc: Bertc, number: str) -> None:
    for name in ("--request-seconds", "--waiting-seconds"):
        called = bertc("serve", artefact, name, number)
        assert called.code == 2 and name in called.err


def test_what_it_has_no_arguments_for_is_said(bertc: Bertc) -> None:
    assert bertc("serve").code == 2


def test_a_missing_package_is_named_with_what_to_install(
    artefact: Path, bertc: Bertc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("bertc.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.types", None)
    called = bertc("serve", artefact)
    assert called.code == 3 and "pip install 'bertc[serve]'" in called.err


def test_bertc_itself_imports_no_server() -> None:
    code = (
        "import bertc, bertc.cli.main, sys; print(sorted({'starlette', 'uvicorn', 'orjson', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
