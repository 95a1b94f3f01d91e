"""Flags and recipe files: who wins, and that the help texts tell the truth about defaults."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from bertc.cli.options import overrides_from_flags, recipe_from_flags
from bertc.core.plugins import COMMANDS
from bertc.errors import InputError
from bertc.recipe import Recipe, TrainingRecipe
from bertc.recipe.setting import settings_named

DOCS = Path(__file__).parents[2] / "docs"
PLAIN_DEFAULTS = {"quantization__mode", "calibration__samples", "calibration__seed", "calibration__calibrator"}
PLAIN_DEFAULTS |= {"validation__decide", "engine__target", "engine__threads"}


def build_options() -> dict[str, click.Option]:
    """Return the options of `bertc build` by parameter name."""
    command = importlib.import_module("bertc.cli.commands.build").command
    return {option.name: option for option in command.params if isinstance(option, click.Option)}


def test_every_field_of_a_recipe_has_a_flag() -> None:
    fields = {
        f"{name}__{field}"
        for name, section in Recipe.model_fields.items()
        if name not in ("training", "student")
        if isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel)
        for field in section.annotation.model_fields
    }
    assert fields == {name for name in build_options() if "__" in str(name)}


def test_the_flags_of_training_are_fields_and_tell_their_defaults() -> None:
    command = importlib.import_module("bertc.cli.commands.finetune").command
    flags = {str(option.name): option for option in command.params if isinstance(option, click.Option)}
    names = {name.partition("__")[2] for name in flags if name.startswith("training__")}
    assert names < TrainingRecipe.model_fields.keys()
    defaults = TrainingRecipe().model_dump()
    for name in ("batch_size", "accumulate", "held_out", "seed", "device", "precision"):
        assert f"Default: {defaults[name]}" in str(flags[f"training__{name}"].help).replace(";", ""), name
    assert float(str(flags["training__learning_rate"].help).split()[-1][:-1]) == defaults["learning_rate"]
    assert float(str(flags["training__labels"].help).split()[-1][:-1]) == defaults["labels"]


def test_help_texts_repeat_the_defaults_of_the_recipe() -> None:
    defaults = Recipe(checkpoint="x").model_dump()
    for name in PLAIN_DEFAULTS:
        section, _, field = name.partition("__")
        assert f"Default: {defaults[section][field]}." in str(build_options()[name].help), name


def test_no_option_has_a_default_of_its_own() -> None:
    command = importlib.import_module("bertc.cli.commands.build").command
    given = command.make_context("build", ["x"]).params
    assert overrides_from_flags({name: value for name, value in given.items() if "__" in name}) == {}


def test_a_switch_that_says_no_is_no_switch_left_out() -> None:
    command = importlib.import_module("bertc.cli.commands.build").command
    for arguments, found in ((["--no-bias-correction"], False), (["--bias-correction"], True), ([], None)):
        given = command.make_context("build", ["x", *arguments]).params
        recipe = recipe_from_flags("x", None, {name: value for name, value in given.items() if "__" in name})
        assert recipe.quantization.bias_correction is found


def test_switches_of_training_say_no() -> None:
    command = importlib.import_module("bertc.cli.commands.finetune").command
    for arguments, quantize, scales in (
        (["--float"], False, True),
        (["--fixed-scales"], True, False),
        ([], True, True),
    ):
        given = command.make_context("finetune", ["x", "-o", "y", *arguments]).params
        recipe = recipe_from_flags("x", None, {name: value for name, value in given.items() if "__" in name})
        assert (recipe.training.quantize, recipe.training.learned_scales) == (quantize, scales)


def test_an_option_takes_what_its_field_takes() -> None:
    options = build_options()
    for setting in settings_named("calibration", "sparsity", "quantization", "validation", "search", "engine"):
        kind, bounds = options[setting.destination].type, setting.bounds
        if setting.choices:
            assert isinstance(kind, click.Choice) and tuple(kind.choices) == setting.choices, setting.key
        elif bounds.low is not None:
            assert isinstance(kind, click.IntRange | click.FloatRange), setting.key
            assert (kind.min, kind.max, kind.min_open) == (bounds.low, bounds.high, bounds.low_open), setting.key


def test_flags_win_over_the_file_and_what_is_not_given_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'checkpoint = "a"\n[calibration]\nsamples = 9\ntable = "t.json"\n[quantization]\nmode = "2"\n'
        '[validation]\nmax_drop = "2%"\ngates = ["f1:1%"]\ndata = "v.tsv"\n',
        encoding="utf-8",
    )
    flags: dict[str, Any] = {"calibration__data": "c.tsv", "quantization__mode": "3", "validation__gates": ("f1:3%",)}
    recipe = recipe_from_flags(None, str(path), {**flags, "calibration__samples": None, "validation__columns": ()})
    assert (recipe.checkpoint, recipe.calibration.samples, recipe.quantization.mode) == ("a", 9, "3")
    assert (recipe.validation.max_drop, recipe.validation.gates) == ("2%", ("f1:3%",))
    assert recipe.calibration.data == "c.tsv" and recipe.calibration.table is None
    other = recipe_from_flags("b", str(path), {"validation__unvalidated": True})
    assert other.checkpoint == "b" and other.validation.data is None and other.calibration.table == "t.json"


def test_columns_become_a_mapping() -> None:
    found = overrides_from_flags({"validation__columns": (("text", "a"), ("label", "b"), ("text", "c"))})
    assert found == {"validation": {"columns": {"text": "c", "label": "b"}}}


def test_a_wrong_field_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('checkpoint = "a"\n[calibration]\nsample = 9\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"calibration\.sample"):
        recipe_from_flags(None, str(path), {})


def test_the_command_reference_is_up_to_date() -> None:
    generator = runpy.run_path(str(DOCS / "generate_cli.py"))
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page == generator["page_text"](), "run python docs/generate_cli.py"
    assert all(f"## bertc {name}" in page for name in COMMANDS.names())
