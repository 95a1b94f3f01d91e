"""Recipe files: the TOML form both ways, paths, overrides, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.recipe import Recipe, recipe_from_document, recipe_from_path, text_from_recipe

FULL = {
    "checkpoint": 'odd "name"\\with\ttab\nand line, ünï 日本 \x7f \U0001f600',
    "task": "sequence-classification",
    "calibration": {"data": "train.tsv", "columns": {"text": "a b", "la.bel": "2"}, "samples": 7, "percentile": 99.5},
    "quantization": {"mode": "2", "granularity": "channel", "smoothing": 0.0, "keep_float": ["layer.0", "gelu"]},
    "sparsity": {"pattern": "2:4", "criterion": "wanda", "skip": ["layer.1"], "permute": True},
    "validation": {"data": "dev.tsv", "gates": ["recall[a]:1%"], "min_agreement": 0.9, "decide": "bound"},
    "engine": {"target": "float", "threads": 2, "max_length": 64},
}


@pytest.mark.parametrize("document", [{"checkpoint": "model"}, FULL], ids=["defaults", "everything"])
def test_a_recipe_survives_being_written_and_read(tmp_path: Path, document: dict[str, Any]) -> None:
    recipe = recipe_from_document(document, "test")
    path = tmp_path / "recipe.toml"
    path.write_text(text_from_recipe(recipe), encoding="utf-8")
    assert recipe_from_path(path, {}) == recipe


def test_overrides_win_and_leave_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text_from_recipe(recipe_from_document(FULL, "test")), encoding="utf-8")
    found = recipe_from_path(path, {"calibration": {"samples": 9}, "task": None, "engine": {"max_length": None}})
    assert (found.calibration.samples, found.calibration.percentile) == (9, 99.5)
    assert found.task is None
    assert found.engine.max_length is None
    assert found.engine.threads == 2


def test_paths_are_the_recipe_s_where_something_is_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "train.tsv").touch()
    path = tmp_path / "recipe.toml"
    path.write_text(
        'checkpoint = "model"\n[calibration]\ndata = "train.tsv"\n[validation]\ndata = "elsewhere.tsv"\n',
        encoding="utf-8",
    )
    found = recipe_from_path(path, {})
    assert found.checkpoint == str(tmp_path / "model")
    assert found.calibration.data == str(tmp_path / "train.tsv")
    assert found.validation.data == "elsewhere.tsv", "a hub's name, or a path of the working folder"


def test_a_mistyped_path_of_the_recipe_s_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes" / "models").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "here.tsv").touch()
    (tmp_path / "recipes" / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipes" / "recipe.toml"
    path.write_text(
        'checkpoint = "models/typo"\n[calibration]\ndata = "data/here.tsv"\n[validation]\nreference = "org/name"\n',
        encoding="utf-8",
    )
    found = recipe_from_path(path, {})
    assert found.checkpoint == str(tmp_path / "recipes" / "models" / "typo")
    assert found.calibration.data == "data/here.tsv", "a path of the working folder, as before"
    assert found.validation.reference == "org/name", "a hub id: no folder has its first part"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        recipe_from_path(tmp_path / "none.toml", {})
    with pytest.raises(InputError, match="cannot be read"):
        recipe_from_path(tmp_path, {})
    (tmp_path / "deep.toml").write_text("checkpoint = " + "[" * 10_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"deep\.toml cannot be read"):
        recipe_from_path(tmp_path / "deep.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        recipe_from_path(tmp_path / "binary.toml", {})


def test_a_recipe_is_frozen() -> None:
    recipe = Recipe(checkpoint="model")
    with pytest.raises(ValueError, match="frozen"):
        recipe.checkpoint = "other"  # type: ignore[misc]
