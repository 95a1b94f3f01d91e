"""Serve artefacts behind a port."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from bertc.cli.command import Command, FiniteRange, option
from bertc.cli.engine_option import engine_option
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.errors import EXIT_PASSED, EnvironmentLackError

SERVER, LIMITS, CLUSTER = "Server", "Limits", "Cluster"


class ReplicasText(click.ParamType[Any]):
    """A number of replicas, or the least and the most of them."""

    name = "replicas"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the least and the most, or fail."""
        if isinstance(value, tuple):
            return value
        least, colon, most = value.partition(":")
        numbers = (least, most) if colon else (least, least)
        if all(each.isascii() and each.isdigit() and len(each) < 6 for each in numbers):
            found = (int(numbers[0]), int(numbers[1]))
            if 1 <= found[0] <= found[1]:
                return found
        self.fail(
            f"'{value}' is no number of replicas; give one from 1 on, or the least and the most, as 1:4", param, ctx
        )


@click.command("serve", cls=Command)
@click.argument("outs", metavar="[NAME=]OUT...", nargs=-1, required=True)
@option("--host", default="127.0.0.1", metavar="HOST", section=SERVER, help="Where to listen. Default: 127.0.0.1.")
@option("--port", type=click.IntRange(0, 65535), default=8080, section=SERVER, help="Default: 8080; 0: a free one.")
@engine_option(failed=False)
@option("--allow-failed", is_flag=True, section=SERVER, help="Serve an artefact whose verdict was not a pass, too.")
@option(
    "--threads",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    section=SERVER,
    help="Threads of each engine; 0 is all cores. Default: 0.",
)
@option(
    "--api-key-file",
    type=Reads(),
    metavar="FILE",
    section=SERVER,
    help="Answer only who sends a key of this file, one in a line, as Authorization: Bearer KEY.",
)
@option("--ssl-certfile", type=Reads(), metavar="FILE", section=SERVER, help="The certificate, for https.")
@option("--ssl-keyfile", type=Reads(), metavar="FILE", section=SERVER, help="The certificate's key.")
@option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    default=1024,
    section=LIMITS,
    help="Tokens that an engine runs at once. Default: 1024.",
)
@option(
    "--waiting-seconds",
    type=FiniteRange(min=0, min_open=True),
    default=2.0,
    section=LIMITS,
    help="Longest that a request may be expected to wait for the engine; else it is refused (429). Default: 2.",
)
@option(
    "--request-bytes",
    type=click.IntRange(min=1),
    default=16 << 20,
    section=LIMITS,
    help="Largest request (413). Default: 16777216.",
)
@option(
    "--request-texts",
    type=click.IntRange(min=1),
    default=4096,
    section=LIMITS,
    help="Most texts of a request (413). Default: 4096.",
)
@option(
    "--request-seconds",
    type=FiniteRange(min=0, min_open=True),
    default=30.0,
    section=LIMITS,
    help="Longest time of a request (504). Default: 30.",
)
@option("--ray", is_flag=True, section=CLUSTER, help="Serve with Ray Serve, in the cluster that is joined or started.")
@option(
    "--replicas",
    type=ReplicasText(),
    metavar="N|MIN:MAX",
    section=CLUSTER,
    help="With --ray: how many processes, or between how many, by the load. Default: as many as --threads fit into the "
    "cluster; without, one.",
)
def command(
    output: Output,
    outs: tuple[str, ...],
    host: str,
    port: int,
    engine: str | None,
    allow_failed: bool,
    threads: int,
    api_key_file: Path | None,
    ssl_certfile: Path | None,
    ssl_keyfile: Path | None,
    batch_tokens: int,
    waiting_seconds: float,
    request_bytes: int,
    request_texts: int,
    request_seconds: float,
    ray: bool,
    replicas: tuple[int, int] | None,
) -> int:
    """Answer requests with the engines in the folders OUT, until the process is told to end (docs/serve.md).

    \b
      bertc serve OUT
      bertc serve sentiment=OUT entities=OUT2 --host 0.0.0.0 --port 80

    Speaks the routes of Text Embeddings Inference, OpenAI's /v1/embeddings, Cohere's /v1/rerank and the Open Inference
    Protocol (/v2). A model is called as its folder unless it is given a NAME.
    """
    if (ssl_certfile is None) != (ssl_keyfile is None):
        raise click.UsageError("--ssl-certfile and --ssl-keyfile belong together; give both")
    _check_cluster(ray=ray, replicas=replicas, port=port)
    try:
        from bertc.serve.listener import Address
        from bertc.serve.ray_serve import serve_on_ray
        from bertc.serve.server import named_folders, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "bertc":
            raise
        raise _lacking(str(error.name)) from error
    from bertc.serve.bounds import Limits
    from bertc.serve.edge import keys_from_file
    from bertc.serve.models import Settings

    limits = Limits(
        batch_tokens=batch_tokens,
        waiting_seconds=waiting_seconds,
        request_bytes=request_bytes,
        request_texts=request_texts,
        request_seconds=request_seconds,
    )
    serve_them = partial(serve_on_ray, replicas=replicas) if ray else serve
    serve_them(
        named_folders(outs),
        Settings(limits=limits, threads=threads, allow_failed=allow_failed, engine=engine),
        Address(host=host, port=port, certificate=ssl_certfile, key=ssl_keyfile),
        keys=() if api_key_file is None else keys_from_file(api_key_file),
        listening=lambda url: output.print_json({"url": url}) if output.json else output.note(f"serving at {url}"),
    )
    return EXIT_PASSED


def _lacking(package: str) -> EnvironmentLackError:
    return EnvironmentLackError(f"the server needs {package}, which is not installed; run: pip install 'bertc[serve]'")


def _check_cluster(*, ray: bool, replicas: tuple[int, int] | None, port: int) -> None:
    if ray and port == 0:
        raise click.UsageError("Ray Serve finds no free port by itself; give --port")
    if replicas is not None and not ray:
        raise click.UsageError("--replicas is for --ray; give both")
