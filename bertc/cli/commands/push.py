"""Push an artefact to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.cli.progress import shown_progress
from bertc.cli.tables import print_facts
from bertc.errors import EXIT_PASSED


@click.command("push", cls=Command)
@click.argument("out", type=Reads())
@click.argument("repo")
@option("--private", is_flag=True, help="Make the repository private; one that is there has to be.")
@option("--revision", metavar="BRANCH", help="The branch, which is made if it is not there. Default: the main one.")
@option("--allow-failed", is_flag=True, help="Push an artefact whose verdict is no pass, too; its card says so.")
def command(output: Output, out: Path, repo: str, private: bool, revision: str | None, allow_failed: bool) -> int:
    """Push the artefact in the folder OUT to the repository REPO (OWNER/NAME) of the Hugging Face hub, with a card.

    \b
      bertc push OUT my-name/my-model-int8
      bertc push OUT my-name/my-model-int8 --revision int8 --private

    One commit: the artefact's files, whose digests are verified first, and README.md made of the report. Log in with
    hf auth login, or set HF_TOKEN. Needs the extra hub.
    """
    from dataclasses import asdict

    from bertc.jobs.push import push
    from bertc.jobs.push_commit import Repository

    repository = Repository(name=repo, revision=revision, private=private)
    with shown_progress(output) as progress:
        pushed = push(out, repository, allow_failed=allow_failed, progress=progress)
    if output.json:
        output.print_json(asdict(pushed))
    print_facts(output, [("pushed", f"{pushed.files} files, {pushed.bytes / 1e6:.1f} MB"), ("commit", pushed.url)])
    return EXIT_PASSED
