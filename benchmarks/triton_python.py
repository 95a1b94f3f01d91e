"""No speed: a real Triton Inference Server with an artefact in its Python backend, its answers beside `bertc predict`.

    python benchmarks/triton_python.py OUT... [--environment DIR] [--out FILE.md]

Makes an environment in DIR (it is kept, and not made again) with the server that `nvidia-pytriton` holds and its
clients, writes a model repository with `bertc export --triton-repository --triton-backend python`, starts the server on
it, and prints a line for each question: equal, or how they differ. The exit status is 1 where one does. What the
clients do themselves is in benchmarks/triton_python_asked.py, which runs in DIR.

That server is of October 2024, whose Python backend reads arrays of numpy 1 alone: DIR has numpy 1.26 for it, beside
which everything else is this environment's own. Later servers take numpy 2, as bertc itself asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import heading, run_facts

import bertc
from bertc.artefact.triton_server import CONFIG
from bertc.jobs.triton_repository import serve_artefact

SERVER = "nvidia-pytriton==0.7.0"
OLD_NUMPY = "numpy==1.26.4"
CLIENTS = "tritonclient[http,grpc]==2.73.0"
ASKED = Path(__file__).with_name("triton_python_asked.py")
START_SECONDS = 90.0
AT_ONCE, DELAY = "dynamic_batching {\n}", 20_000
"""What is written, which waits for nothing, and what is waited here, in microseconds."""


def main() -> int:
    """Ask, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outs", nargs="+", type=Path, metavar="OUT")
    parser.add_argument("--environment", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.environment or Path(scratch) / "triton"
        make_environment(folder)
        tasks = {}
        for artefact in given.outs:
            model, _ = serve_artefact(artefact, Path(scratch) / "models", "python")
            wait_for_others(model / CONFIG)
            with bertc.load(artefact) as opened:
                tasks[model.name] = opened.task.name
        with triton_server(folder, Path(scratch) / "models") as (http, grpc, _):
            command = [folder / "bin" / "python", str(ASKED), str(http), str(grpc), *map(str, given.outs)]
            asked = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    lines = [json.loads(line) for line in asked.stdout.splitlines()]
    page = table(lines, tasks)
    print("\n".join(page))
    if given.out is not None:
        given.out.write_text("\n".join(page) + "\n", encoding="utf-8")
    return int(any(line["result"] != "equal" for line in lines if "result" in line))


def make_environment(folder: Path) -> None:
    """Make an environment with the server, its clients and the packages of this one."""
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "-qq"]
    subprocess.run([*install, CLIENTS], check=True)
    subprocess.run([*install, "--no-deps", SERVER, OLD_NUMPY], check=True)
    here = [str(Path(bertc.__file__).parents[1]), *site.getsitepackages()]
    (packages(folder) / "zz-behind.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    backend = folder / "backends" / "python"
    held = packages(folder) / "pytriton" / "tritonserver"
    shutil.copytree(held / "backends" / "python", backend, dirs_exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(held / "python_backend_stubs" / version / "triton_python_backend_stub", backend)


def wait_for_others(config: Path) -> None:
    """Let the server wait for more requests, so that those that come at once share executions whatever their pace."""
    text = config.read_text(encoding="utf-8")
    assert AT_ONCE in text
    config.write_text(text.replace(AT_ONCE, f"dynamic_batching {{\n  max_queue_delay_microseconds: {DELAY}\n}}"))


def packages(folder: Path) -> Path:
    """Return where an environment has its packages."""
    return next(folder.glob("lib/python*/site-packages"))


@contextmanager
def triton_server(folder: Path, repository: Path) -> Iterator[tuple[int, int, int]]:
    """Start the server on free ports of this machine; give those of HTTP and gRPC and its process, and end it."""
    http, grpc = free_ports()
    # The backend's process reads no PYTHONPATH: its packages are those of the python3 that PATH finds first.
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    libraries = packages(folder) / "nvidia_pytriton.libs"
    command = [packages(folder) / "pytriton" / "tritonserver" / "bin" / "tritonserver"]
    for name, value in {
        "model-repository": repository,
        "backend-directory": folder / "backends",
        "http-address": "127.0.0.1",
        "http-port": http,
        "grpc-address": "127.0.0.1",
        "grpc-port": grpc,
        "allow-metrics": "false",
        "exit-timeout-secs": 5,
    }.items():
        command += [f"--{name}", str(value)]
    log = folder / "server.log"
    with log.open("wb") as stream:
        environment = os.environ | {"PATH": path, "LD_LIBRARY_PATH": str(libraries)}
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        wait_until_ready(f"http://127.0.0.1:{http}/v2/health/ready", process, log)
        yield http, grpc, process.pid
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the server answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the server did not start; {log} says why")


def free_ports() -> tuple[int, int]:
    """Return two ports that are free now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def table(lines: list[dict[str, str]], tasks: dict[str, str]) -> list[str]:
    """Return the page."""
    facts = run_facts()
    facts["command"] = "python benchmarks/triton_python.py OUT..."
    page = heading("Triton's Python backend: what the real server answers", facts)
    page += [f"Server: Triton 2.51.0, as {SERVER} holds it, with {OLD_NUMPY}. Clients: {CLIENTS}.", ""]
    page += ["Models: " + ", ".join(f"{name} ({task})" for name, task in tasks.items()) + ".", ""]
    page += [f"{line['fact']}" for line in lines if "fact" in line] + [""]
    page += ["| client | asks | model | beside `bertc predict` |", "| --- | --- | --- | --- |"]
    return page + ["| {client} | {asks} | {model} | {result} |".format(**line) for line in lines if "result" in line]


if __name__ == "__main__":
    sys.exit(main())
