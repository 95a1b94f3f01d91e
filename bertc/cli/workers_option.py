"""--workers: who shares the work of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bertc.cli.command import Decorator, option
from bertc.errors import InputError

if TYPE_CHECKING:
    from bertc.core.workers import Workers


class WorkersText(click.ParamType[Any]):
    """What `bertc.core.workers.workers_from_text` reads."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Workers:
        """Return the workers, or fail."""
        from bertc.core.workers import Workers, workers_from_text  # multiprocessing: not for --help

        if isinstance(value, Workers):
            return value
        try:
            return workers_from_text(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


def workers_option() -> Decorator:
    """Declare --workers; the function gets a `Workers`, which it has to close."""
    return option(
        "--workers",
        type=WorkersText(),
        default="1",
        metavar="N|ray[:N]",
        help="Processes that share the work, or ray:N actors of a Ray cluster (ray: one per core), with the same "
        "result for any number (docs/workers.md). Default: 1.",
    )
