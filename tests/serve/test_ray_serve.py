"""Ray Serve: how replicas are planned, the application of one of them, and a real deployment."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bertc as package
from bertc.core.ray_cluster import Cluster
from bertc.errors import EnvironmentLackError
from bertc.serve import ray_serve
from bertc.serve.bounds import Limits
from bertc.serve.listener import Address
from bertc.serve.models import Settings
from bertc.serve.ray_serve import ReplicaApplication, Replicas, planned_replicas
from tests.artefacts import Bertc, let_fail

TEXT = "good film"
WRONG = ("0", "-1", "two", "", "1:", ":2", "3:2", "0:2", "1:2:3", "1000000")


@pytest.mark.parametrize(
    ("bounds", "threads", "cores", "replicas"),
    [
        (None, 0, 8, Replicas(least=1, most=1, cores=8)),
        (None, 2, 8, Replicas(least=4, most=4, cores=2)),
        (None, 3, 8, Replicas(least=2, most=2, cores=3)),
        ((4, 4), 0, 8, Replicas(least=4, most=4, cores=2)),
        ((3, 3), 0, 8, Replicas(least=3, most=3, cores=2)),
        ((2, 2), 1, 2, Replicas(least=2, most=2, cores=1)),
        ((1, 4), 0, 8, Replicas(least=1, most=4, cores=2)),
        ((1, 4), 4, 8, Replicas(least=1, most=4, cores=4)),
    ],
)
def test_replicas_fit_the_cluster(bounds: tuple[int, int] | None, threads: int, cores: int, replicas: Replicas) -> None:
    assert planned_replicas(bounds, threads, Cluster(cores=cores)) == replicas
    assert replicas.actors == {"num_cpus": replicas.cores, "num_gpus": 0}


@pytest.mark.parametrize(
    ("bounds", "threads", "gpus", "replicas"),
    [
        (None, 0, 4, Replicas(least=4, most=4, cores=2, gpus=1)),
        (None, 1, 2, Replicas(least=2, most=2, cores=1, gpus=1)),
        ((1, 1), 0, 2, Replicas(least=1, most=1, cores=8, gpus=1)),
        ((1, 8), 1, 2, Replicas(least=1, most=8, cores=1, gpus=1)),  # the cluster may grow
    ],
)
def test_replicas_of_engines_for_gpus_have_one_each(
    bounds: tuple[int, int] | None, threads: int, gpus: int, replicas: Replicas
) -> None:
    assert planned_replicas(bounds, threads, Cluster(cores=8, gpus=gpus), on_gpus=True) == replicas
    assert replicas.actors == {"num_cpus": replicas.cores, "num_gpus": 1}


@pytest.mark.parametrize(("bounds", "gpus"), [(None, 0), ((3, 3), 2), ((3, 8), 2)])
def test_more_gpus_than_the_cluster_has_are_refused(bounds: tuple[int, int] | None, gpus: int) -> None:
    with pytest.raises(EnvironmentLackError, match=f"with a GPU each .* the Ray cluster has {gpus}; take fewer"):
        planned_replicas(bounds, 0, Cluster(cores=8, gpus=gpus), on_gpus=True)
    assert planned_replicas(bounds, 0, Cluster(cores=8, gpus=gpus)).gpus == 0  # of engines for CPUs


@pytest.mark.parametrize(("bounds", "threads"), [((3, 3), 1), (None, 4), ((2, 2), 2), ((3, 8), 0)])
def test_more_than_the_cluster_has_is_refused(bounds: tuple[int, int] | None, threads: int) -> None:
    with pytest.raises(EnvironmentLackError, match="and the Ray cluster has 2; take fewer"):
        planned_replicas(bounds, threads, Cluster(cores=2))


def test_bounds_follow_the_load_and_a_number_does_not() -> None:
    assert Replicas(least=2, most=2, cores=1).scaling == {"num_replicas": 2}
    config = Replicas(least=1, most=4, cores=1).scaling
    assert config.keys() == {"autoscaling_config"}
    assert config["autoscaling_config"].items() >= {"min_replicas": 1, "max_replicas": 4}.items()


def test_replicas_have_all_that_was_wished_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Ray: what would be deployed is caught."""
    deployed: list[Any] = []
    serve = SimpleNamespace(
        status=lambda: SimpleNamespace(proxies={}), start=ignore, run=ignore, shutdown=ignore, config=SimpleNamespace()
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    for name, stand_in in {
        "joined_cluster": lambda: nullcontext(Cluster(cores=8)),
        "_http_options": ignore,
        "_opened_once": opened_nothing,
        "_deployment": lambda replica, plan: deployed.append(replica._settings),
        "_until_told": ignore,
    }.items():
        monkeypatch.setattr(ray_serve, name, stand_in)
    wish = Settings(limits=Limits(batch_tokens=7), threads=0, allow_failed=True, engine="ort-cpu")
    ray_serve.serve_on_ray({"tiny": tmp_path}, wish, Address(host="127.0.0.1", port=8080), replicas=(1, 4))
    assert deployed == [replace(wish, threads=2)]


def ignore(*arguments: Any, **named: Any) -> None:
    """Stand for what this test is not about."""


async def opened_nothing(*arguments: Any) -> bool:
    """Stand for opening artefacts, of which none is for a GPU."""
    return False


async def lived(folder: Path, *paths: str, **settings: Any) -> tuple[dict[str, Any], list[tuple[int, Any]]]:
    """Start a replica, ask paths, and end it; return what it said of its start, and status and body of each answer."""
    replica: Any = ReplicaApplication({"tiny": folder}, Settings(threads=1, **settings), ())
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    life = asyncio.create_task(replica({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    start, answers = await outbox.get(), []
    if start["type"] == "lifespan.startup.complete":
        answers = [await asked(replica, path) for path in paths]
        await inbox.put({"type": "lifespan.shutdown"})
        assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
    await life
    return start, answers


async def asked(replica: Any, path: str) -> tuple[int, Any]:
    """Post a text to a path."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"inputs": TEXT}).encode(), "more_body": False}

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await replica(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.native
def test_a_replica_answers_as_the_server_does_but_for_what_belongs_to_one_process(artefact: Path) -> None:
    paths = ("/predict", "/metrics", "/v2/repository/models/tiny/load", "/nowhere")
    start, answers = asyncio.run(lived(artefact, *paths))
    assert start == {"type": "lifespan.startup.complete"}
    with package.load(artefact) as model:
        (told,) = model.predict(TEXT)
    assert told is not None and answers[0] == (200, [{"label": label, "score": score} for label, score in best(told)])
    assert [status for status, _ in answers[1:]] == [405, 405, 404]
    assert all("several replicas" in body["error"] for _, body in answers[1:3])


def test_a_model_may_be_called_as_what_belongs_to_one_process_begins(artefact: Path) -> None:
    _, answers = asyncio.run(lived(artefact, "/metrics-small/predict", "/metrics/predict"))
    assert [status for status, _ in answers] == [404, 405] and "no model 'metrics-small'" in answers[0][1]["error"]


def best(told: dict[str, Any]) -> list[tuple[str, float]]:
    """Return labels and scores as the route gives them: best first."""
    return sorted(told["scores"].items(), key=lambda each: -each[1])


def test_a_replica_that_cannot_open_its_artefact_says_why(artefact: Path, tmp_path: Path) -> None:
    start, _ = asyncio.run(lived(let_fail(shutil.copytree(artefact, tmp_path / "copy"))))
    assert start["type"] == "lifespan.startup.failed" and "--allow-failed" in start["message"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--replicas", "2"), "--replicas is for --ray; give both"),
        *((("--ray", "--replicas", each), "is no number of replicas; give one from 1 on") for each in WRONG),
        (("--ray", "--port", "0"), "finds no free port by itself; give --port"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: tuple[str, ...], fault: str, artefact: Path, bertc: Bertc
) -> None:
    called = bertc("serve", artefact, *options)
    assert called.code == 2 and fault in called.err


def test_without_ray_the_extra_is_named(artefact: Path, bertc: Bertc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    called = bertc("serve", artefact, "--ray")
    assert called.code == 3 and "pip install 'bertc[ray]'" in called.err


@pytest.mark.ray
@pytest.mark.native
@pytest.mark.slow
def test_ray_serve_answers_as_bertc_predict_and_ends_when_it_is_told(artefact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bertc", "serve", str(artefact), "--ray", "--port", str(port), "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next((line for line in process.stderr if "serving at" in line), "")
        assert told.strip().endswith(f":{port}")
        url = f"http://127.0.0.1:{port}"
        body = json.dumps({"inputs": TEXT}).encode()
        with urllib.request.urlopen(f"{url}/predict", body, timeout=30) as response:
            answer = json.load(response)
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(f"{url}/metrics", timeout=30)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(60) == 0
    with package.load(artefact) as model:
        (expected,) = model.predict(TEXT)
    assert expected is not None and [(each["label"], each["score"]) for each in answer] == best(expected)
