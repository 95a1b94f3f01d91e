"""What a text costs servers in CPU time, beside the client: as many requests as each can answer.

    python benchmarks/serving_cost.py ENGINE --data dev.tsv --column text=content [--servers bertc,ray,triton]
      [--triton DIR] [--haproxy BINARY] [--out FILE.json]

Every engine has one thread, so that none waits busily for another and the time is what the work takes, on a machine
that does other things as well. For requests of 1 and, of `bertc serve`, of 32 texts: milliseconds of CPU of the server
with all its processes and of the client for each text, and bytes that go in and out. With the binary of HAProxy also
what it costs to stand between. docs/scale.md plans with these.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from machine import run_facts
from serving import Client, request_of, server
from triton_python import free_ports

import bertc
from bertc.data.dataset import rows_from_path

CALLERS = 64
TICKS = os.sysconf("SC_CLK_TCK")
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{bind}
  default_backend replicas
backend replicas
  server one 127.0.0.1:{port}
"""


def packed_request(texts: list[str]) -> bytes:
    """Return a request with several texts."""
    body = json.dumps({"inputs": [[text] for text in texts]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def cpu_seconds(process: int) -> float:
    """Return what a process and those that it started, and they, have used so far."""
    parents: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            parents[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    family, found = {process}, -1
    while len(family) != found:
        found = len(family)
        family |= {each for each, (parent, _) in parents.items() if parent in family}
    return sum(parents[each][1] for each in family if each in parents)


async def saturated(port: int, requests: list[bytes], callers: int, seconds: float) -> tuple[int, int]:
    """Ask as much as is answered; return answers and the bytes of them that were read."""
    client, draw, answers = Client(port), random.Random(0), 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal answers
        while time.perf_counter() < end:
            status, _ = await client.ask(draw.choice(requests))
            assert status == 200, status
            answers += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers, sum(connection.received for connection in client.free)


def measured(port: int, processes: dict[str, int], requests: list[bytes], count: int, seconds: float) -> dict[str, Any]:
    """Return rate, CPU and bytes for requests of so many texts."""
    callers = max(4, CALLERS // count)
    asyncio.run(saturated(port, requests, callers, 1.0))
    before = {name: cpu_seconds(process) for name, process in processes.items()} | {"client": time.process_time()}
    begin = time.perf_counter()
    answers, received = asyncio.run(saturated(port, requests, callers, seconds))
    spent = time.perf_counter() - begin
    after = {"client": time.process_time()} | {name: cpu_seconds(process) for name, process in processes.items()}
    return {
        "texts_per_request": count,
        "texts_per_second": answers * count / spent,
        "cpu_ms_per_text": {name: (after[name] - before[name]) * 1e3 / (answers * count) for name in after},
        "bytes_in_per_text": sum(map(len, requests)) / len(requests) / count,
        "bytes_out_per_text": received / answers / count,
    }


@contextmanager
def haproxy(binary: Path, port: int) -> Iterator[tuple[int, int]]:
    """Start HAProxy before a port; give its own port and its process."""
    bind, _ = free_ports()
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(HAPROXY.format(bind=bind, port=port))
        config.flush()
        process = subprocess.Popen([str(binary), "-f", config.name, "-db"], stderr=subprocess.DEVNULL)
        try:
            time.sleep(1.0)
            yield bind, process.pid
        finally:
            process.terminate()
            process.wait(10)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--servers", default="bertc")
    parser.add_argument("--triton", type=Path, metavar="DIR")
    parser.add_argument("--haproxy", type=Path, metavar="BINARY")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with bertc.load(options.engine) as model:
        columns = dict(each.split("=", 1) for each in options.column)
        rows = rows_from_path(str(options.data), layout=model.task.layout, columns=columns)
        texts = [row.texts[0] for row in rows]
    lines = []
    for name in options.servers.split(","):
        more = ["--threads", "1", *(["--replicas", "1"] if name == "ray" else [])]
        more += [] if name == "triton" else ["--waiting-seconds", "60"]
        requests = [request_of(text, name, options.engine) for text in texts]
        with server(name, options.engine, more, options.triton) as started:
            port, processes = started.port, {"server": started.process}
            lines.append({"server": name} | measured(port, processes, requests, 1, options.seconds))
            if name == "bertc":
                draw = random.Random(1)
                packed = [packed_request(draw.choices(texts, k=32)) for _ in range(500)]
                lines.append({"server": name} | measured(port, processes, packed, 32, options.seconds))
            if name == "bertc" and options.haproxy is not None:
                with haproxy(options.haproxy, port) as (bind, process):
                    both = processes | {"haproxy": process}
                    lines.append({"server": "bertc, haproxy"} | measured(bind, both, requests, 1, options.seconds))
            print(json.dumps(lines[-1]), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(run_facts() | {"lines": lines}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
