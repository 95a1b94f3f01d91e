"""Write a recipe for a checkpoint, every default explained."""

from __future__ import annotations

from pathlib import Path

import click

from bertc.artefact.kinds import RECIPE
from bertc.cli.command import Command, force_option, option
from bertc.cli.output import Output, check_stdout
from bertc.cli.paths import Reads, Writes
from bertc.core.plugins import TASKS
from bertc.errors import EXIT_PASSED


@click.command("config", cls=Command)
@click.argument("checkpoint", type=Reads(str))
@option("--task", type=click.Choice(TASKS.names()), metavar="TASK", help="Instead of the checkpoint's.")
@option("-o", "--out", type=Writes(RECIPE), metavar="FILE", help="The recipe to write. Default: stdout.")
@force_option(RECIPE)
def command(output: Output, checkpoint: str, task: str | None, out: Path | None, force: bool) -> int:
    """Write a TOML recipe with all defaults for CHECKPOINT, to be edited and committed.

    \b
      bertc config CHECKPOINT -o recipe.toml
      bertc build --recipe recipe.toml -o OUT
    """
    if out is None:
        check_stdout("bertc config without -o")
    from bertc.checkpoint import checkpoint_from_path
    from bertc.cli.result_files import write_file
    from bertc.recipe import Recipe
    from bertc.recipe.commented import commented_recipe
    from bertc.tasks import task_from_name

    model = checkpoint_from_path(checkpoint, task=task)
    recipe = Recipe(checkpoint=checkpoint, task=task or model.head.task)
    text = commented_recipe(recipe, schema=task_from_name(model.head.task).schema(model.head))
    if out is not None:
        write_file(out, text, RECIPE, force=force)
        output.say(f"wrote {out}; name the data in it, then run bertc build --recipe {out} -o OUT")
    if output.json:
        output.print_json(recipe.model_dump(mode="json"))
    elif out is None:
        click.echo(text, nl=False)
    return EXIT_PASSED
