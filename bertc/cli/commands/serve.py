"""Serve artefacts behind a port."""

from __future__ import annotations

from pathlib import Path

import click

from bertc.cli.command import Command, FiniteRange, option
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.errors import EXIT_PASSED, EnvironmentLackError

SERVER, LIMITS = "Server", "Limits"


@click.command("serve", cls=Command)
@click.argument("outs", metavar="[NAME=]OUT...", nargs=-1, required=True)
@option("--host", default="127.0.0.1", metavar="HOST", section=SERVER, help="Where to listen. Default: 127.0.0.1.")
@option("--port", type=click.IntRange(0, 65535), default=8080, section=SERVER, help="Default: 8080; 0: a free one.")
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
def command(
    output: Output,
    outs: tuple[str, ...],
    host: str,
    port: int,
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
    try:
        from bertc.serve.listener import Address
        from bertc.serve.server import named_folders, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "bertc":
            raise
        raise EnvironmentLackError(
            f"the server needs {error.name}, which is not installed; run: pip install 'bertc[serve]'"
        ) from error
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
    serve(
        named_folders(outs),
        Settings(limits=limits, threads=threads, allow_failed=allow_failed),
        Address(host=host, port=port, certificate=ssl_certfile, key=ssl_keyfile),
        keys=() if api_key_file is None else keys_from_file(api_key_file),
        listening=lambda url: output.print_json({"url": url}) if output.json else output.note(f"serving at {url}"),
    )
    return EXIT_PASSED
