"""`bertc push` against a stand-in for the hub: what it sends, what it refuses, what it says of errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bertc as package
from bertc.core.crf import Crf, Over
from bertc.core.digest import files_of_folder
from bertc.core.head import Head
from bertc.jobs.push import engines_of_artefact, left_out_of_files
from tests.artefacts import Bertc, PathOf, let_fail
from tests.fixtures import tiny_sentence
from tests.hub_double import CUT, LOST, REPO, TOKEN, Hub, running_hub

huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # huggingface_hub's own upload


def test_what_was_pushed_is_the_artefact_and_answers_the_same(
    bertc: Bertc, hub: Hub, out: Path, tmp_path: Path
) -> None:
    (out / ".DS_Store").write_bytes(b"of this machine")
    called = bertc("push", out, REPO, "--json")
    assert called.code == 0, called.err
    oid, files = hub.head(REPO)
    assert called.json["commit"] == oid and len(hub.repositories[REPO]["branches"]["main"]) == 2  # one commit
    assert set(files) == {*files_of_folder(out), "README.md", ".gitattributes"} - {".DS_Store"}
    assert all(files[name] == (out / name).read_bytes() for name in files_of_folder(out) if name != ".DS_Store")
    snapshot = huggingface_hub.snapshot_download(REPO, cache_dir=tmp_path / "cache")
    texts = [tiny_sentence(seed, 5) for seed in range(60, 66)]
    with package.load(out) as here, package.load(snapshot) as there:
        assert here.predict(texts) == there.predict(texts)
        assert here.passed and there.passed and not there.caution
    assert bertc("inspect", snapshot).code == 0


def test_the_card_tells_what_was_measured(bertc: Bertc, hub: Hub, out: Path) -> None:
    yaml = pytest.importorskip("yaml")
    assert bertc("push", out, REPO).code == 0
    card = hub.head(REPO)[1]["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert front["library_name"] == "bertc" and front["pipeline_tag"] == "text-classification"
    assert "base_model" not in front and {"bertc", "onnxruntime", "int8"} == set(front["tags"])
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "dev.tsv"
    assert result["metrics"][0]["value"] == report["accuracy"]["engine"]
    assert result["metrics"][1]["value"] == report["accuracy"]["reference"]
    assert (
        "passed" in card
        and ("95 % interval" in card or "no row gains or loses" in card)
        and f'snapshot_download("{REPO}")' in card
    )
    assert "InferenceSession" in card and "SentenceTransformer" not in card and "openvino" not in card.lower()
    assert str(out.parent) not in card and "/tmp" not in card


def test_a_newer_artefact_replaces_the_older_and_its_files(bertc: Bertc, hub: Hub, out: Path) -> None:
    assert bertc("push", out, REPO).code == 0
    _, files = hub.head(REPO)
    old = json.loads(files["manifest.json"])
    old["files"]["native.json"] = old["files"]["recipe.toml"]  # as if the older engine had been another
    hub.commit(REPO, {**files, "native.json": b"{}", "manifest.json": json.dumps(old).encode()})
    assert bertc("push", out, REPO).code == 0
    assert set(hub.head(REPO)[1]) == set(files)
    commits = len(hub.repositories[REPO]["branches"]["main"])
    assert bertc("push", out, REPO).code == 0  # nothing new
    assert set(hub.head(REPO)[1]) == set(files) and commits <= len(hub.repositories[REPO]["branches"]["main"])


def test_a_branch_and_privacy(bertc: Bertc, hub: Hub, out: Path) -> None:
    assert bertc("push", out, REPO, "--private", "--revision", "int8").code == 0
    assert hub.repositories[REPO]["private"]
    assert "model.onnx" in hub.head(REPO, "int8")[1] and "model.onnx" not in hub.head(REPO)[1]
    hub.create("me/public")
    called = bertc("push", out, "me/public", "--private")
    assert called.code == 2 and "is there and is public, so nothing was pushed" in called.err
    assert list(hub.head("me/public")[1]) == [".gitattributes"]
    called = bertc("push", out, "me/public", "--revision", " ")
    assert called.code == 2 and "the revision is empty" in called.err


@pytest.mark.parametrize("refused", [True, False])
def test_a_branch_is_made_where_nothing_is_refused(refused: bool, bertc: Bertc, hub: Hub, out: Path) -> None:
    """It begins where the main one is, so files that are in the way there are in the way in a new branch."""
    for name, strange in (("me/public", {}), ("me/files", {"train.py": b"x"} if refused else {})):
        hub.create(name)
        hub.commit(name, {**hub.head(name)[1], **strange})
        private = ["--private"] if refused and not strange else []
        called = bertc("push", out, name, "--revision", "int8", *private)
        assert (called.code, list(hub.repositories[name]["branches"])) == (
            (2, ["main"]) if refused else (0, ["main", "int8"])
        )
        assert "--revision" not in called.err
        assert (
            refused
            or f'snapshot_download("{name}", revision="int8")' in hub.head(name, "int8")[1]["README.md"].decode()
        )


@pytest.mark.parametrize("name", ["me/a--b", "me/a..b", "me/a-", "me/a.git", "me/" + "a" * 100])
def test_a_name_that_no_repository_can_have_is_refused(name: str, bertc: Bertc, hub: Hub, out: Path) -> None:
    called = bertc("push", out, name)
    assert called.code == 2 and "is no name that the hub takes" in called.err and "network" not in called.err
    assert hub.seen == []


def test_files_that_bertc_did_not_push_stay(bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.create(REPO)
    hub.commit(REPO, {**hub.head(REPO)[1], "pytorch_model.bin": b"x", "LICENSE": b"y"})
    called = bertc("push", out, REPO)
    assert called.code == 2 and "has files that bertc did not push (pytorch_model.bin)" in called.err
    hub.commit(REPO, {"LICENSE": b"y"})
    assert bertc("push", out, REPO).code == 0 and hub.head(REPO)[1]["LICENSE"] == b"y"
    hub.create("me/other")
    hub.commit("me/other", {"manifest.json": b"{}"})
    called = bertc("push", out, "me/other")
    assert called.code == 2 and "has a manifest.json that is not bertc's" in called.err


def test_nothing_is_sent_of_what_is_damaged_or_failed(bertc: Bertc, hub: Hub, out: Path) -> None:
    (out / "config.json").write_text("{}", encoding="utf-8")
    called = bertc("push", out, REPO)
    assert called.code == 2 and "manifest mismatch, config.json" in called.err
    assert hub.seen == []
    called = bertc("push", out, "no-owner")
    assert called.code == 2 and "name it OWNER/NAME" in called.err


def test_a_verdict_that_is_no_pass_needs_a_word(bertc: Bertc, hub: Hub, out: Path) -> None:
    let_fail(out)
    called = bertc("push", out, REPO)
    assert called.code == 2 and "did not pass its gates, so it is not pushed" in called.err
    assert hub.seen == []
    assert bertc("push", out, REPO, "--allow-failed").code == 0
    assert "NOT PASSED" in hub.head(REPO)[1]["README.md"].decode()
    assert hub.messages[-1].endswith(": ort-cpu, not passed")


def test_a_commit_says_of_an_unvalidated_artefact_that_it_is_one(bertc: Bertc, hub: Hub, out: Path) -> None:
    assert bertc("push", out, REPO).code == 0 and hub.messages[-1].endswith(": ort-cpu, passed")
    let_fail(out, unvalidated=True)
    assert bertc("push", out, REPO, "--allow-failed").code == 0
    assert hub.messages[-1].endswith(": ort-cpu, unvalidated")


@pytest.mark.parametrize(
    ("kind", "status", "code", "message"),
    [
        ("create", 403, 2, "your token may not write there (403"),
        ("preupload", 403, 2, "your token may not write there (403"),
        ("commit", 409, 2, "was changed meanwhile (409"),
        ("commit", 412, 2, "was changed meanwhile (412"),
        ("batch", 404, 2, "cannot be pushed (404"),
        ("store", 403, 2, "your token may not write there (403"),
    ],
)
def test_errors_of_the_hub(kind: str, status: int, code: int, message: str, bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.fail(kind, status)
    called = bertc("push", out, REPO)
    assert (called.code, len(called.err.strip().splitlines()[-1:])) == (code, 1) and message in called.err, called.err
    assert TOKEN not in called.err and hub.url not in called.err and "Traceback" not in called.err
    assert REPO not in hub.repositories or "manifest.json" not in hub.head(REPO)[1]


def test_a_token_that_is_wrong_is_not_shown(bertc: Bertc, hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    called = bertc("push", out, REPO)
    assert called.code == 2 and "the hub does not know you (401" in called.err
    assert "hf_wrong_secret" not in called.err + called.out and hub.repositories == {}


@pytest.mark.parametrize(
    ("kind", "status"), [("preupload", 503), ("store", 500), ("batch", 502), ("commit", 500), ("yaml", 502)]
)
def test_an_error_that_passes_is_gone_through(kind: str, status: int, bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.fail(kind, status)
    called = bertc("push", out, REPO)
    assert called.code == 0, called.err
    assert len(hub.repositories[REPO]["branches"]["main"]) == 2


def test_a_commit_whose_answer_is_lost_is_not_said_to_be_missing(bertc: Bertc, hub: Hub, out: Path) -> None:
    """It is there: the hub is asked what it has, and names that commit."""
    for number, (kind, failure) in enumerate((("answer", 504), ("commit", LOST))):
        name = f"me/lost-{number}"
        hub.fail(kind, failure)
        called = bertc("push", out, name, "--json")
        assert called.code == 0, called.err
        assert called.json["commit"] == hub.head(name)[0] and called.json["url"].endswith(called.json["commit"])
        assert len(hub.repositories[name]["branches"]["main"]) == 2
        assert bertc("push", out, name).code == 0


def test_a_commit_of_somebody_else_is_not_taken_for_one_whose_answer_was_lost(
    bertc: Bertc, hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(seconds: float) -> None:
        if len(hub.repositories[REPO]["branches"]["main"]) == 1:
            hub.commit(REPO, {"manifest.json": b"{}", "README.md": b"theirs"})

    monkeypatch.setattr("bertc.jobs.push_commit.time.sleep", other)
    hub.fail("commit", 502)
    called = bertc("push", out, REPO)
    assert called.code == 3 and "may be this push's own commit" in called.err and "nothing was pushed" not in called.err
    assert hub.head(REPO)[1]["README.md"] == b"theirs"


def test_where_the_hub_stays_silent_nobody_says_that_nothing_was_committed(
    bertc: Bertc, hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.jobs.push_commit.time.sleep", lambda seconds: hub.failures.update(info=[403]))
    hub.fail("commit", LOST, CUT, CUT)
    called = bertc("push", out, REPO)
    assert called.code == 3 and "did not say whether the commit to me/tiny-int8 arrived" in called.err
    assert "push again, which cannot commit twice" in called.err and "is not there" not in called.err
    hub.failures.clear()
    assert bertc("push", out, REPO).code == 0


def test_an_error_that_stays_ends_it(bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.fail("commit", *[500] * 9)
    called = bertc("push", out, REPO)
    assert called.code == 3 and "the hub has an error of its own (500" in called.err
    assert len(hub.repositories[REPO]["branches"]["main"]) == 1


def test_a_connection_that_is_cut(bertc: Bertc, hub: Hub, out: Path) -> None:
    hub.fail("store", CUT)
    assert bertc("push", out, REPO).code == 0  # sent again, from its beginning
    assert hub.head(REPO)[1]["model.onnx"] == (out / "model.onnx").read_bytes()
    hub.fail("commit", CUT)
    assert bertc("push", out, "me/first").code == 0  # it names its parent, so that it cannot be there twice
    assert len(hub.repositories["me/first"]["branches"]["main"]) == 2
    hub.fail("commit", *[CUT] * 3)
    called = bertc("push", out, "me/second")
    assert called.code == 3 and "the hub did not answer as it should" in called.err
    assert hub.url not in called.err and len(hub.repositories["me/second"]["branches"]["main"]) == 1


def test_a_reranker_is_called_one_where_it_was_judged_as_one(
    bertc: Bertc, data_of: PathOf, checkpoint_of: PathOf, out: Path, tmp_path: Path
) -> None:
    """By its files it is a classifier with one score."""
    data = data_of("text-ranking")
    options = ("--max-drop", "2abs", "--any-reference", "--no-cache", "--target", "ort-cpu")
    called = bertc(
        "build", checkpoint_of("text-ranking"), "-o", tmp_path / "ranks", "--calibration-data", data,
        "--validation-data", data, *options,
    )  # fmt: skip
    assert called.code == 0, called.err
    for folder, pipeline, pairs in ((tmp_path / "ranks", "text-ranking", True), (out, "text-classification", False)):
        (engine,) = engines_of_artefact(folder)
        assert (engine.pipeline, engine.pairs, engine.left_out) == (pipeline, pairs, "")


def test_what_bertc_does_behind_the_files_is_told_of_the_head() -> None:
    head = Head(task="sequence-classification")
    assert left_out_of_files(head) == ""
    assert "below 0.3" in left_out_of_files(replace(head, exit_threshold=0.3))
    crf = Crf(transitions=((0.0,),), start=(0.0,), end=(0.0,), over=Over.WORDS, constrained=False)
    assert "those are decoded behind the scores" in left_out_of_files(replace(head, crf=crf))


def test_without_a_hub(bertc: Bertc, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://user:secret@127.0.0.1:9")
    called = bertc("push", out, REPO)
    assert called.code == 3 and "check the network and HF_ENDPOINT" in called.err and "secret" not in called.err


def test_the_program_itself_is_led_to_a_mirror(built: Path) -> None:
    with running_hub() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "bertc", "push", str(built), REPO]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{hub.url}/{REPO}/commit/{hub.head(REPO)[0]}" in done.stdout
        assert TOKEN not in done.stdout + done.stderr
