"""What is on the hub where a push is cut, by the hub, the network or a signal: what goes again, and what is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.artefacts import Bertc
from tests.hub_double import CUT, HANG, REPO, TOKEN, Hub, running_hub

huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # huggingface_hub's own upload


@pytest.mark.parametrize("failure", [CUT, 500, 403])
def test_a_branch_that_was_made_for_a_commit_goes_without_it(failure: int, bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.create(REPO)
    hub.fail("commit", *[failure] * 3)
    assert bertc("push", out, REPO, "--revision", "int8").code in (2, 3)
    assert [*hub.repositories[REPO]["branches"]] == ["main"] and "DELETE branch" in hub.seen
    hub.failures.clear()
    assert bertc("push", out, REPO, "--revision", "int8").code == 0
    assert [*hub.repositories[REPO]["branches"]] == ["main", "int8"]
    hub.fail("commit", *[failure] * 3)
    assert bertc("push", out, REPO, "--revision", "int8").code in (2, 3)
    assert "manifest.json" in hub.head(REPO, "int8")[1], "a branch that was there stays"


def test_a_branch_that_cannot_be_removed_is_told(
    bertc: Bertc, hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def protected(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(huggingface_hub.HfApi, "delete_branch", protected)
    hub.create(REPO)
    hub.fail("commit", 403)
    called = bertc("push", out, REPO, "--revision", "int8")
    assert called.code == 2 and "the branch int8 of me/tiny-int8 was made for this push" in called.err


SAFE = "; nothing was committed to me/tiny-int8; push again"
SENT = "; the commit to me/tiny-int8 was being sent and may have arrived; push again, which cannot commit twice"


@pytest.mark.parametrize(
    ("kind", "branch", "number", "told"),
    [
        ("info", None, signal.SIGINT, SAFE),
        ("store", None, signal.SIGTERM, SAFE),
        ("commit", None, signal.SIGINT, SENT),
        ("store", "int8", signal.SIGINT, SAFE),
        ("commit", "int8", signal.SIGTERM, SAFE),
    ],
)
def test_a_push_that_is_ended_says_what_is_there_and_leaves_nothing_half_made(
    kind: str, branch: str | None, number: signal.Signals, told: str, built: Path
) -> None:
    """The hub does not answer meanwhile: the end does not wait for it."""
    command = [sys.executable, "-m", "bertc", "push", str(built), REPO, *(["--revision", branch] if branch else [])]
    with running_hub() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        hub.create(REPO)
        hub.fail(kind, HANG)
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as push:
            assert hub.hangs.wait(60)
            push.send_signal(number)
            _, said = push.communicate(timeout=30)
        word, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
        assert (push.returncode, said.splitlines()[-1]) == (code, f"error: {word}{told}")
        branches = hub.repositories[REPO]["branches"]
        assert [*branches] == ["main"] and len(branches["main"]) == 1
        hub.released.set()
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert "manifest.json" in hub.head(REPO, branch or "main")[1]


STAYS = "the repository me/tiny-int8 was made for this push and stays, empty unless its commit arrived"


@pytest.mark.parametrize(("kind", "failure"), [("preupload", 403), ("commit", 403), ("commit", 500)])
def test_a_repository_that_was_made_is_told_where_the_push_fails(
    kind: str, failure: int, bertc: Bertc, hub: Hub, out: Path
) -> None:
    hub.fail(kind, *[failure] * 6)
    called = bertc("push", out, REPO)
    assert called.code in (2, 3) and STAYS in called.err and "or delete it on the hub" in called.err
    hub.failures.clear()
    again = bertc("push", out, REPO)
    assert again.code == 0 and "stays" not in again.err


@pytest.mark.parametrize("kind", ["preupload", "create"])
def test_a_repository_that_was_there_or_was_not_made_is_not_told(kind: str, bertc: Bertc, hub: Hub, out: Path) -> None:
    if kind != "create":
        hub.create(REPO)
    hub.fail(kind, 403)
    called = bertc("push", out, REPO)
    assert called.code == 2 and "stays" not in called.err and (REPO in hub.repositories) == (kind != "create")


def test_a_repository_that_was_made_is_told_where_a_signal_ends_the_push(built: Path) -> None:
    command = [sys.executable, "-m", "bertc", "push", str(built), REPO]
    with running_hub() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        hub.fail("store", HANG)
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as push:
            assert hub.hangs.wait(60)
            push.send_signal(signal.SIGTERM)
            _, said = push.communicate(timeout=30)
    assert push.returncode == 143 and STAYS in said and said.splitlines()[-1] == f"error: terminated{SAFE}"
