"""Which of several engines in a folder a command takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bertc.cli.command import Decorator, all_of, option
from bertc.cli.output import Output

if TYPE_CHECKING:
    from bertc.jobs.engine_choice import ChosenEngine


def engine_option(*, failed: bool = True) -> Decorator:
    """Declare --engine, and with `failed` --allow-failed, where a command has none of its own."""
    own = option(
        "--engine",
        metavar="TARGET",
        help="Of several engines in OUT: this one. Default: the first that runs here and did not fail its gates.",
    )
    allow = option("--allow-failed", is_flag=True, help="Of several engines: take one that failed its gates, too.")
    return all_of(own, allow) if failed else own


def told_choice(output: Output, out: Path, engine: str | None, *, allow_failed: bool) -> ChosenEngine:
    """Choose the engine, and say which it is where there are several."""
    from bertc.jobs.engine_choice import EngineWish, chosen_engine

    chosen = chosen_engine(out, EngineWish(target=engine, allow_failed=allow_failed))
    if chosen.reason:
        output.note(f"engine {chosen.reason}")
    return chosen
