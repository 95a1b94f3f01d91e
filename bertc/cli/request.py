"""What the commands on a recipe share: CHECKPOINT, --recipe, the options of fields, the cache, the progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.artefact.kinds import CACHE, Kind
from bertc.cli.command import Decorator, all_of, option
from bertc.cli.idle_flags import check_in_use
from bertc.cli.options import recipe_from_flags, recipe_options
from bertc.cli.output import Output
from bertc.cli.paths import Reads, Writes, destinations_of
from bertc.cli.progress import shown_progress
from bertc.errors import InputError
from bertc.recipe import Recipe
from bertc.recipe.file import value_of
from bertc.recipe.setting import settings, settings_named, title_of

if TYPE_CHECKING:
    from bertc.artefact.destination import Destination, Source
    from bertc.cache.stages import Work
    from bertc.core.workers import Workers

CACHE_TITLE = "Cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command line on a recipe. `flags` has the options of fields by the names of their parameters.

    `destinations` is what the command line writes.
    """

    output: Output
    checkpoint: str | None
    file: str | None
    flags: Mapping[str, Any]
    destinations: tuple[Destination, ...]
    cache_dir: Path | None
    no_cache: bool

    def with_columns(self, columns: tuple[tuple[str, str], ...]) -> Request:
        """Return the request with columns of both the calibration and the validation data before each one's own."""
        names = ("calibration__columns", "validation__columns")
        return replace(self, flags={**self.flags, **{name: (*columns, *self.flags[name]) for name in names}})

    def recipe(self) -> Recipe:
        """Return the recipe of the file with the flags over it.

        Raises `InputError` naming what is wrong, also where the command would overwrite what the recipe names, and
        `UsageError` for a flag that changes nothing.
        """
        from bertc.artefact.destination import check_apart

        _check_text((*self.output.arguments, *(str(each.path.absolute()) for each in self.destinations)))
        recipe = recipe_from_flags(self.checkpoint, self.file, self.flags)
        check_in_use(recipe, self.flags)
        check_apart(self.destinations, sources_from_recipe(recipe))
        return recipe

    @contextmanager
    def work(self, workers: Workers | None = None) -> Iterator[Work]:
        """Show progress and open the cache of finished stages; the workers are ended at the end."""
        from bertc.cache.stages import Work
        from bertc.cache.store import StageCache  # numpy: not for --help

        directory = cache_directory(self.cache_dir, no_cache=self.no_cache)
        with (
            shown_progress(self.output) as progress,
            StageCache(directory, progress=progress) as cache,
            workers or nullcontext(),
        ):
            yield Work(cache, progress, workers=workers)


def _check_text(arguments: Iterable[str]) -> None:
    """Raise `InputError` for a word of the command line, or a place to write to, that is no text.

    Recipes, reports and manifests name what they were made of, in UTF-8, and ONNX Runtime opens no other place.
    """
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{each!r} has bytes that are no UTF-8, and what is written has to name it; rename it"
            ) from None


def cache_directory(named: Path | None, *, no_cache: bool) -> Path | None:
    """Return the folder in which finished stages are kept, None for none. Raises `UsageError` for both."""
    from bertc.cache.store import default_cache_directory  # numpy: not for --help

    if no_cache and named is not None:
        raise click.UsageError("--cache-dir and --no-cache exclude each other; leave one out")
    return None if no_cache else named or default_cache_directory()


def cache_options() -> Decorator:
    """Declare --cache-dir and --no-cache."""
    return all_of(
        option(
            "--cache-dir",
            type=Writes(CACHE),
            section=CACHE_TITLE,
            help="Where finished stages are kept. Default: bertc in the user's cache folder.",
        ),
        option("--no-cache", is_flag=True, section=CACHE_TITLE, help="Neither use nor keep finished stages."),
    )


def sources_from_recipe(recipe: Recipe) -> tuple[Source, ...]:
    """List the files and folders that a recipe names."""
    from bertc.artefact.destination import Source

    named = ((setting, value_of(recipe, setting.section, setting.name)) for setting in settings() if setting.about.path)
    return tuple(
        Source(option=setting.about.flag or "CHECKPOINT", path=Path(value))
        for setting, value in named
        if value is not None
    )


def recipe_command(*names: str) -> Decorator:
    """Declare CHECKPOINT, --recipe, the cache and the options of fields; the function gets them as `request`.

    `names` are those of `recipe_options`.
    """
    fields = [setting.destination for setting in settings_named(*names)]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(
            output: Output,
            checkpoint: str | None,
            recipe: str | None,
            cache_dir: Path | None,
            no_cache: bool,
            **given: Any,
        ) -> Any:
            request = Request(
                output=output,
                checkpoint=checkpoint,
                file=recipe,
                flags={name: given.pop(name) for name in fields},
                destinations=destinations_of(click.get_current_context()),
                cache_dir=cache_dir,
                no_cache=no_cache,
            )
            return function(output=output, request=request, **given)

        declare = all_of(
            click.argument("checkpoint", required=False, type=Reads(str)),
            option(
                "--recipe",
                type=Reads(str),
                metavar="FILE",
                section=title_of(""),
                help="A TOML recipe (bertc config writes one). Flags override.",
            ),
            recipe_options(*names),
            cache_options(),
        )
        declared: Callable[..., Any] = declare(run)
        return declared

    return decorate


def out_option(kind: Kind, metavar: str, help: str, **keywords: Any) -> Decorator:
    """Declare -o, and what is written there."""
    return option("-o", "--out", type=Writes(kind), metavar=metavar, help=help, **keywords)
