"""The ready recipes load, name a scheme that exists, and change what they say they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.errors import InputError
from bertc.ir.scheme import Granularity, scheme_from_options
from bertc.recipe import recipe_from_path

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_with_a_checkpoint_from_the_command_line(path: Path) -> None:
    recipe = recipe_from_path(path, {"checkpoint": "model", "calibration": {"data": "train.tsv"}})
    wanted = recipe.quantization
    scheme = scheme_from_options(wanted.mode, granularity=wanted.granularity, smoothing=wanted.smoothing, layers=2)
    assert scheme.mode.name == wanted.mode
    assert (scheme.granularity is Granularity.TENSOR) == path.stem.startswith("fastertransformer")
    assert recipe.calibration.data == "train.tsv"


def test_a_recipe_without_a_checkpoint_is_refused() -> None:
    assert len(RECIPES) >= 4
    with pytest.raises(InputError, match="checkpoint"):
        recipe_from_path(RECIPES[0], {})
