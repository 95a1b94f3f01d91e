"""A server under load: requests arrive by a Poisson process, whether or not the earlier ones were answered.

    python benchmarks/serving.py ENGINE --data sst2/dev.tsv --column text=content [--route /predict] [--apart]
      [--seconds 6] [--out FILE.json]

Each server is a process of its own with the same engine: `bertc serve`; `ray`, which is `bertc serve --ray`; `triton`,
a real Triton Inference Server with the artefact in its Python backend, in an environment that
benchmarks/triton_python.py made (`--triton DIR`); `one`, which calls `engine.predict` for each
request as it comes (starlette and uvicorn, as documentation shows it); `count`, which puts up to 32 waiting texts into
a call and pads them, waiting 5 ms for them as such servers do. The client, a process too, takes texts at random and
never waits. First each server's capacity is found (as many requests at once as it likes), then it is loaded with shares
of the capacity of `bertc serve`, servers in turns. A request that is answered after `--limit` times the engine's time
for one text, or refused, is not good; goodput is good answers a second. That time is measured anew for each share, as
machines that others share are now fast and now slow.

One at a time, `bertc serve` beside `one`: what the server itself costs.

With `--apart` servers have the first core and the client the last one: past capacity the client is what would take the
server's time, as no client on another machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import run_facts
from triton_python import free_ports, triton_server

import bertc
from bertc.artefact.triton_server import CONFIG, name_from_path
from bertc.data.dataset import rows_from_path
from bertc.jobs.triton_repository import serve_artefact

SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
SERVERS = ("bertc", "one", "count")
TIMEOUT = 5.0


class Connection(asyncio.Protocol):
    """A kept connection on which one request at a time is asked."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self.received = 0
        self._seen = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        self.received += len(data)
        end = self._seen.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._seen[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._seen) < end + 4 + length:
            return
        self._seen.clear()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer


@dataclass
class Client:
    """Kept connections to one port."""

    port: int
    free: deque[Connection] = field(default_factory=deque)

    async def ask(self, request: bytes) -> tuple[int, float]:
        """Return status (0: no answer) and seconds from now."""
        begin = time.perf_counter()
        connection = self.free.pop() if self.free else None
        if connection is None or connection.transport is None:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        try:
            status = await asyncio.wait_for(connection.ask(request), TIMEOUT)
        except TimeoutError:
            if connection.transport is not None:
                connection.transport.abort()
            return 0, TIMEOUT
        if connection.transport is not None:
            self.free.append(connection)
        return status, time.perf_counter() - begin


def request_of(text: str, server: str, engine: Path, route: str = "/predict") -> bytes:
    path, document = route, {"inputs": text}
    if server == "triton":
        path = f"/v2/models/{name_from_path(str(engine))}/infer"
        tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
        document = {"inputs": [tensor], "outputs": [{"name": "answer"}]}
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def loaded(port: int, requests: list[bytes], rate: float, seconds: float, seed: int) -> list[tuple[int, float]]:
    """Send requests at random times, `rate` a second on average; return what came of each."""
    client, draw = Client(port), random.Random(seed)
    loop = asyncio.get_running_loop()
    pending, found, at = set(), [], loop.time()
    end = at + seconds
    while at < end:
        at += draw.expovariate(rate)
        delay = at - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        task = loop.create_task(client.ask(draw.choice(requests)))
        pending.add(task)
        task.add_done_callback(pending.discard)
        task.add_done_callback(lambda done: found.append(done.result()))
    while pending:
        await asyncio.sleep(0.05)
    return found


async def saturated(port: int, requests: list[bytes], callers: int, seconds: float) -> float:
    """Return answers a second with so many callers, each of which waits for its answer."""
    client, draw, count = Client(port), random.Random(0), 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < end:
            status, _ = await client.ask(draw.choice(requests))
            assert status in (200, 0), status  # `one` runs the engine in its loop, which then accepts nobody
            count += status == 200

    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / seconds


async def alternating(ports: dict[str, int], requests: list[bytes], rounds: int) -> dict[str, list[float]]:
    """Ask servers one request at a time, in turns; return the seconds."""
    clients = {name: Client(port) for name, port in ports.items()}
    draw, found = random.Random(1), {name: [] for name in ports}
    for number in range(rounds + 20):
        request = draw.choice(requests)
        for name in draw.sample(list(clients), len(clients)):
            _, seconds = await clients[name].ask(request)
            if number >= 20:
                found[name].append(seconds)
    return found


def figures(answers: list[tuple[int, float]], seconds: float, limit: float) -> dict[str, Any]:
    """Return rates a second and latencies in ms."""
    good = [spent for status, spent in answers if status == 200]
    p50, p95, p99 = (np.percentile(good, (50, 95, 99)) * 1e3).tolist() if good else (None, None, None)
    return {
        "sent": len(answers) / seconds,
        "answered": len(good) / seconds,
        "refused": sum(status in (429, 503) for status, _ in answers) / seconds,
        "lost": sum(status == 0 for status, _ in answers),
        "goodput": sum(spent <= limit for spent in good) / seconds,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


@dataclass(frozen=True)
class Started:
    """A server: its port, and its process, of which others may be children."""

    port: int
    process: int


@contextmanager
def server(
    name: str, engine: Path, arguments: list[str], triton: Path | None = None, cores: set[int] | None = None
) -> Iterator[Started]:
    """Start a server; return where it is. `triton` is the environment that holds Triton's; `cores`, all it may use."""
    if name == "triton":
        assert triton is not None, "--triton DIR says where Triton's server is"
        with tempfile.TemporaryDirectory() as scratch:
            model, _ = serve_artefact(engine, Path(scratch) / "models", "python")
            if "--threads" in arguments:
                threads = arguments[arguments.index("--threads") + 1]
                config = (model / CONFIG).read_text(encoding="utf-8")
                (model / CONFIG).write_text(config.replace('string_value: "0"', f'string_value: "{threads}"'))
            with triton_server(triton, Path(scratch) / "models") as (port, _, process):
                yield Started(port, process)
        return
    if name == "bertc":
        command = [sys.executable, "-m", "bertc", "serve", str(engine), "--port", "0", *arguments]
    elif name == "ray":
        port, _ = free_ports()
        command = [sys.executable, "-m", "bertc", "serve", str(engine), "--ray", "--port", str(port), *arguments]
    else:
        command = [sys.executable, str(Path(__file__).with_name("serving_peers.py")), name, str(engine)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if cores is not None:
        os.sched_setaffinity(process.pid, cores)  # it is still loading Python, and its threads are to come
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if "serving at " in line), "")
        if not line:
            raise SystemExit(f"the server did not start: {' '.join(command)}")
        with Path(os.devnull).open("w") as sink:
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=sink)
            yield Started(int(line.rsplit(":", 1)[1]), process.pid)
    finally:
        process.terminate()
        process.wait(60)


def keep_to(cores: set[int] | None) -> None:
    """Run on these cores alone; None changes nothing."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


def seconds_of_a_text(engine: Path, texts: list[str]) -> float:
    """Return the engine's median time for one text, on the cores that this process may use."""
    times = []
    with bertc.load(engine) as model:
        for text in texts[:200]:
            begin = time.perf_counter()
            model.predict(text)
            times.append(time.perf_counter() - begin)
    return statistics.median(times[50:])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--limit", type=float, default=20.0)
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--route", default="/predict", help="of the engine's task: /predict or /embed")
    parser.add_argument("--apart", action="store_true", help="servers on the first core, the client on the last")
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--serve", action="append", default=[], help="an argument of bertc serve; repeatable")
    parser.add_argument("--triton", type=Path, metavar="DIR", help="an environment of benchmarks/triton_python.py")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    columns = dict(each.split("=", 1) for each in options.column)
    ours = sorted(os.sched_getaffinity(0))
    cores, clients = ({ours[0]}, {ours[-1]}) if options.apart else (None, None)
    keep_to(cores)
    with bertc.load(options.engine) as model:
        rows = list(rows_from_path(str(options.data), layout=model.task.layout, columns=columns))
        libraries = ["openvino"] if model.manifest.target == "openvino" else []
    texts = [row.texts[0] for row in rows]
    one_text = seconds_of_a_text(options.engine, texts)
    limit = options.limit * one_text
    keep_to(clients)
    names = options.servers.split(",")
    requests = {name: [request_of(text, name, options.engine, options.route) for text in texts] for name in names}
    print(f"one text {one_text * 1e3:.2f} ms; limit {limit * 1e3:.1f} ms", flush=True)
    results: dict[str, Any] = {"one_text_ms": one_text * 1e3, "capacity": {}, "load": []}
    for name in names:
        with server(name, options.engine, ["--waiting-seconds", "60"], options.triton, cores) as started:
            asyncio.run(saturated(started.port, requests[name], 8, 1))
            results["capacity"][name] = asyncio.run(saturated(started.port, requests[name], 64, options.seconds))
            print(name, f"capacity {results['capacity'][name]:.0f}/s", flush=True)
    if {"bertc", "one"} <= set(names):
        with (
            server("bertc", options.engine, options.serve, cores=cores) as served,
            server("one", options.engine, [], cores=cores) as bare,
        ):
            spent = asyncio.run(alternating({"bertc": served.port, "one": bare.port}, requests["bertc"], 1500))
        results["one_at_a_time_ms"] = {name: statistics.median(each) * 1e3 for name, each in spent.items()}
        print(results["one_at_a_time_ms"], flush=True)
    top = results["capacity"][names[0]]
    for share in map(float, options.shares.split(",")):
        keep_to(cores)
        limit = options.limit * seconds_of_a_text(options.engine, texts)
        keep_to(clients)
        for name in names:
            with server(name, options.engine, options.serve, options.triton, cores) as started:
                asyncio.run(loaded(started.port, requests[name], 100, 0.5, seed=0))
                answers = asyncio.run(
                    loaded(started.port, requests[name], share * top, options.seconds, seed=int(share * 100))
                )
            line = {"server": name, "share": share, "limit_ms": limit * 1e3} | figures(answers, options.seconds, limit)
            results["load"].append(line)
            print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()}), flush=True)
    if options.out is not None:
        document = run_facts(*libraries) | {"apart": options.apart} | results
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
