"""The options that several commands share, and the recipe that they make.

An option whose value is a field of the recipe has the parameter name `section__field`. None of them has a default of
its own: what is not given is left to the recipe file, and then to the recipe's defaults, which the help texts repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc import plugins
from bertc.cli.command import Decorator, all_of, option

if TYPE_CHECKING:
    from bertc.recipe import Recipe

MODEL, CALIBRATION, QUANTIZATION = "Model", "Calibration", "Quantization"
SPARSITY = "Sparsity"
VALIDATION, SEARCH, ENGINE, CACHE = "Validation and gate", "Search", "Engine", "Cache"


def names_of_files(package: str) -> list[str]:
    """List what a folder of bertc offers by its files' names, without importing any (numpy alone takes 0.1 s)."""
    return list(plugins.names_of_files(f"bertc.{package.replace('/', '.')}"))


def column_pair(value: str) -> tuple[str, str]:
    """Read ROLE=NAME, split at the first equals sign."""
    role, equals, name = value.partition("=")
    if not role or not equals or not name:
        raise click.BadParameter(f"'{value}' is not of the form ROLE=NAME, for example text=sentence")
    return role, name


def columns_option(flag: str, parameter: str, what: str, section: str) -> Decorator:
    """Declare a repeatable ROLE=NAME option."""
    return option(
        flag,
        parameter,
        multiple=True,
        type=column_pair,
        metavar="ROLE=NAME",
        section=section,
        help=f"The column of {what} that fills a role, by name or by number from 1. Repeatable.",
    )


checkpoint_argument = click.argument("checkpoint", required=False)

model_options = all_of(
    option("--recipe", metavar="FILE", section=MODEL, help="A TOML recipe (bertc config writes one). Flags override."),
    option(
        "--task",
        type=click.Choice(names_of_files("tasks")),
        metavar="TASK",
        section=MODEL,
        help=f"One of {', '.join(names_of_files('tasks'))}. Default: what the checkpoint was trained for.",
    ),
)

calibration_options = all_of(
    option(
        "--calibration-data",
        "calibration__data",
        metavar="FILE",
        section=CALIBRATION,
        help="Text to calibrate on, best the training text: TSV, CSV, JSONL, Parquet, plain lines, SQuAD or CoNLL.",
    ),
    columns_option("--calibration-column", "calibration__columns", "the calibration data", CALIBRATION),
    option(
        "--calibration-samples",
        "calibration__samples",
        type=click.IntRange(min=1),
        metavar="N",
        section=CALIBRATION,
        help="Rows of text to calibrate on. Default: 256.",
    ),
    option(
        "--seed",
        "calibration__seed",
        type=int,
        metavar="N",
        section=CALIBRATION,
        help="Seed of the choice of rows. Default: 0.",
    ),
)

calibrator_options = all_of(
    option(
        "--calibrator",
        "calibration__calibrator",
        type=click.Choice(names_of_files("calibrators")),
        metavar="NAME",
        section=CALIBRATION,
        help=f"How ranges are chosen: {', '.join(names_of_files('calibrators'))}. Default: percentile.",
    ),
    option(
        "--percentile",
        "calibration__percentile",
        type=click.FloatRange(50, 100, min_open=True),
        metavar="N",
        section=CALIBRATION,
        help="The percentile of the calibrator percentile. Default: 99.99, and the maximum on the residual stream.",
    ),
)

table_option = option(
    "--calibration",
    "calibration__table",
    metavar="TABLE",
    section=CALIBRATION,
    help="A table of an earlier calibration (calibration.json) in the place of text.",
)

smoothing_option = option(
    "--smoothing",
    "quantization__smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="N",
    section=QUANTIZATION,
    help="SmoothQuant's exponent; 0 switches it off. Default: 0.9 with granularity channel, else 0.",
)

per_site_option = option(
    "--per-site",
    "calibration__per_site",
    multiple=True,
    type=click.Choice(["smoothing", "calibrator"]),
    section=CALIBRATION,
    help="Choose exponent or range of each GEMM input by the error at its layer's output. Repeatable.",
)

correction_options = all_of(
    option(
        "--rounding",
        "quantization__rounding",
        type=click.Choice(["nearest", "gptq"]),
        section=QUANTIZATION,
        help="How weights are rounded. Default: what is better on the calibration text, with granularity channel.",
    ),
    option(
        "--bias-correction/--no-bias-correction",
        "quantization__bias_correction",
        default=None,
        section=QUANTIZATION,
        help="Let biases take the mean of what rounding changes. Default: as for --rounding.",
    ),
)

quantization_options = all_of(
    option(
        "--int8-mode",
        "quantization__mode",
        type=click.Choice(["1", "2", "3"]),
        section=QUANTIZATION,
        help="What is quantized (docs/modes.md). Default: 1.",
    ),
    option(
        "--granularity",
        "quantization__granularity",
        type=click.Choice(["tensor", "channel"]),
        section=QUANTIZATION,
        help="A scale per tensor or per column. Default: channel in mode 1, tensor in modes 2 and 3.",
    ),
    smoothing_option,
    option(
        "--keep-float",
        "quantization__keep_float",
        multiple=True,
        metavar="NAME",
        section=QUANTIZATION,
        help="Leave a site (layer.3.output_gemm), a layer (layer.3) or a role in float. Repeatable.",
    ),
)

sparsity_choices = all_of(
    option(
        "--sparsity-criterion",
        "sparsity__criterion",
        type=click.Choice(names_of_files("sparsity/criteria")),
        metavar="NAME",
        section=SPARSITY,
        help=f"What is pruned: by {', '.join(names_of_files('sparsity/criteria'))}. Default: sparsegpt.",
    ),
    option(
        "--sparsity-skip",
        "sparsity__skip",
        multiple=True,
        metavar="NAME",
        section=SPARSITY,
        help="Leave a GEMM (layer.3.output_gemm), a layer (layer.3) or a role dense. Repeatable.",
    ),
    option(
        "--sparsity-permute",
        "sparsity__permute",
        is_flag=True,
        default=None,
        section=SPARSITY,
        help="Search an order of the channels in which 2:4 keeps more.",
    ),
)

sparsity_options = all_of(
    option(
        "--sparsity",
        "sparsity__pattern",
        type=click.Choice(["2:4"]),
        section=SPARSITY,
        help="Prune two of four weights before calibration. Default: nothing; what is 2:4 already stays so.",
    ),
    sparsity_choices,
)

validation_data_options = all_of(
    option(
        "--validation-data",
        "validation__data",
        metavar="FILE",
        section=VALIDATION,
        help="Labelled data that proves the accuracy, in any of the forms of --calibration-data.",
    ),
    columns_option("--validation-column", "validation__columns", "the validation data", VALIDATION),
    option(
        "--validation-limit",
        "validation__limit",
        type=click.IntRange(min=1),
        metavar="N",
        section=VALIDATION,
        help="Use a seeded sample of that many rows. Default: all rows.",
    ),
)

reference_option = option(
    "--reference",
    "validation__reference",
    metavar="CHECKPOINT",
    section=VALIDATION,
    help="The float model to compare with, such as the one before training or pruning. Default: CHECKPOINT.",
)

gate_options = all_of(
    option(
        "--max-drop",
        "validation__max_drop",
        metavar="LIMIT",
        section=VALIDATION,
        help="Largest drop of the main metric: 1% of the float model's value, or 0.01abs.",
    ),
    option(
        "--gate",
        "validation__gates",
        multiple=True,
        metavar="METRIC:LIMIT",
        section=VALIDATION,
        help="Largest drop of any metric: accuracy:1%, recall[spam]:0.005abs. Repeatable.",
    ),
    option(
        "--min-agreement",
        "validation__min_agreement",
        type=click.FloatRange(0, 1),
        metavar="N",
        section=VALIDATION,
        help="Smallest share of decisions that are the float model's, such as 0.99.",
    ),
    option(
        "--preset",
        "validation__preset",
        type=click.Choice(["99%", "99.9%"]),
        section=VALIDATION,
        help="The part of float's main metric to keep. Default: 99%, where no other gate is named.",
    ),
    option(
        "--decide",
        "validation__decide",
        type=click.Choice(["point", "bound"]),
        section=VALIDATION,
        help="Judge by the drop itself or by its 95 % interval. Default: point.",
    ),
)

search_options = all_of(
    option(
        "--search",
        "search__enabled",
        is_flag=True,
        default=None,
        section=SEARCH,
        help="Find the fastest scheme within the gates' budget: what stays in float and, unless given, granularity "
        "and smoothing. Judged on calibration text that does not calibrate.",
    ),
    option(
        "--search-rows",
        "search__rows",
        type=click.IntRange(min=1),
        metavar="N",
        section=SEARCH,
        help="Rows of that text. Default: 1024.",
    ),
    option(
        "--search-trials",
        "search__trials",
        type=click.IntRange(min=4),
        metavar="N",
        section=SEARCH,
        help="Schemes to evaluate at most, about. Default: 64.",
    ),
    option(
        "--search-workers",
        "search__workers",
        type=click.IntRange(0, 256),
        metavar="N",
        section=SEARCH,
        help="Processes that evaluate them; 0 is one per core. Default: 0.",
    ),
)

target_option = option(
    "--target",
    "engine__target",
    type=click.Choice(names_of_files("targets")),
    metavar="TARGET",
    section=ENGINE,
    help=f"One of {', '.join(names_of_files('targets'))} (bertc doctor describes them). Default: ort-cpu.",
)
attention_option = option(
    "--attention",
    "engine__attention",
    metavar="KIND",
    section=ENGINE,
    help="tensorrt's fused attention: decomposed, native, packed, plugin or kernel. Default: decomposed.",
)
threads_option = option(
    "--threads",
    "engine__threads",
    type=click.IntRange(min=0),
    metavar="N",
    section=ENGINE,
    help="Threads; 0 is all cores. Default: 0.",
)
length_option = option(
    "--max-length",
    "engine__max_length",
    type=click.IntRange(min=8),
    metavar="N",
    section=ENGINE,
    help="Most tokens of a text. Default: the model's own (384 for question answering).",
)
cache_options = all_of(
    option(
        "--cache-dir",
        type=click.Path(path_type=Path),
        section=CACHE,
        help="Where finished stages are kept. Default: bertc in the user's cache folder.",
    ),
    option("--no-cache", is_flag=True, section=CACHE, help="Neither use nor keep finished stages."),
)


def recipe_from_flags(checkpoint: str | None, recipe: str | None, flags: Mapping[str, Any]) -> Recipe:
    """Return the recipe file's recipe with the flags over it; without a file, the flags' own."""
    from bertc.recipe import recipe_from_document, recipe_from_path  # pydantic: not for --help

    overrides = overrides_from_flags(flags)
    if checkpoint is not None:
        overrides["checkpoint"] = checkpoint
    if recipe is not None:
        return recipe_from_path(Path(recipe), overrides)
    if checkpoint is None:
        raise click.UsageError("name a CHECKPOINT, or a recipe that does (--recipe)")
    return recipe_from_document(overrides, "bertc")


def overrides_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, nested by section; a flag that contradicts a field of a recipe file empties that field."""
    overrides: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value == ():
            continue
        section, _, field = name.rpartition("__")
        values = overrides.setdefault(section, {}) if section else overrides
        values[field] = dict(value) if field == "columns" else value
    calibration, validation = overrides.get("calibration", {}), overrides.get("validation", {})
    if "data" in calibration and "table" not in calibration:
        calibration["table"] = None
    training = overrides.get("training", {})
    lengths = {"epochs", "steps", "minutes"}
    if lengths & training.keys():
        training.update(dict.fromkeys(lengths - training.keys()))
    if validation.get("unvalidated"):
        if "data" in validation:
            raise click.UsageError("--unvalidated and --validation-data exclude each other")
        validation["data"] = None
    return overrides
