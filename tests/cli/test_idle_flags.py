"""A flag that would change nothing is refused with what it needs, and taken where that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from bertc.cli.idle_flags import check_in_use
from bertc.recipe import recipe_from_document
from bertc.recipe.setting import settings
from tests.artefacts import Bertc

ALL = dict.fromkeys((setting.destination for setting in settings()), None)
JUDGED = "--validation-data or --search"

IDLE: list[tuple[str, Any, dict[str, Any], str]] = [
    ("sparsity__criterion", "wanda", {"sparsity": {"pattern": "2:4"}}, "--sparsity"),
    ("sparsity__skip", ("layer.0",), {"sparsity": {"pattern": "2:4"}}, "--sparsity"),
    ("sparsity__permute", True, {"sparsity": {"pattern": "2:4"}}, "--sparsity"),
    ("search__rows", 10, {"search": {"enabled": True}}, "--search"),
    ("search__trials", 4, {"search": {"enabled": True}}, "--search"),
    ("search__workers", 0, {"search": {"enabled": True}}, "--search"),
    ("validation__max_drop", "1%", {"validation": {"data": "dev.tsv"}}, JUDGED),
    ("validation__max_drop", "1%", {"search": {"enabled": True}}, JUDGED),
    ("validation__gates", ("f1:1%",), {"validation": {"data": "dev.tsv"}}, JUDGED),
    ("validation__decide", "point", {"validation": {"data": "dev.tsv"}}, JUDGED),
    ("validation__min_agreement", 0.0, {"validation": {"data": "dev.tsv"}}, JUDGED),
    ("validation__limit", 5, {"validation": {"data": "dev.tsv"}}, "--validation-data"),
    ("validation__reference", "before", {"validation": {"data": "dev.tsv"}}, "--validation-data"),
]


@pytest.mark.parametrize("name, value, with_it, without", IDLE)
def test_a_flag_needs_what_its_field_is_of(name: str, value: Any, with_it: dict[str, Any], without: str) -> None:
    flags = {**ALL, name: value}
    with pytest.raises(click.UsageError, match=f"changes nothing without {without}; give both, or leave it out"):
        check_in_use(recipe_from_document({"checkpoint": "model"}, "test"), flags)
    check_in_use(recipe_from_document({"checkpoint": "model", **with_it}, "test"), flags)


def test_what_an_unvalidated_build_would_need_stands_in_the_place_of_that() -> None:
    flags = {**ALL, "validation__max_drop": "1%", "validation__unvalidated": True}
    unvalidated = {"checkpoint": "model", "validation": {"unvalidated": True}}
    ways = "; give --validation-data in the place of --unvalidated, or leave --max-drop out$"
    with pytest.raises(click.UsageError, match=f"--max-drop changes nothing without {JUDGED}{ways}"):
        check_in_use(recipe_from_document(unvalidated, "test"), flags)
    check_in_use(recipe_from_document({**unvalidated, "search": {"enabled": True}}, "test"), flags)
    with pytest.raises(click.UsageError, match=r"--search-rows .* without --search; give both, or leave it out"):
        check_in_use(recipe_from_document(unvalidated, "test"), {**ALL, "search__rows": 10})


@pytest.mark.parametrize("calibrator", ["max", "mse", "entropy"])
def test_a_percentile_is_of_its_calibrator(calibrator: str) -> None:
    flags = {**ALL, "calibration__percentile": 99.0}
    recipe = recipe_from_document({"checkpoint": "model", "calibration": {"calibrator": calibrator}}, "test")
    with pytest.raises(click.UsageError, match="--percentile changes nothing without --calibrator percentile"):
        check_in_use(recipe, flags)
    check_in_use(recipe_from_document({"checkpoint": "model"}, "test"), flags)


def test_what_a_command_cannot_set_is_not_asked_for() -> None:
    of_prune = {"sparsity__criterion": "wanda"}
    check_in_use(recipe_from_document({"checkpoint": "model"}, "test"), of_prune)


def test_a_recipe_s_own_fields_may_be_idle() -> None:
    document = {"checkpoint": "model", "search": {"rows": 9}, "calibration": {"calibrator": "max", "percentile": 99.0}}
    check_in_use(recipe_from_document(document, "test"), ALL)


@pytest.mark.parametrize(
    "line, message",
    [
        ("build CKPT -o OUT --calibration-data T --unvalidated --max-drop 1%", "--max-drop changes nothing without"),
        ("build CKPT -o OUT --calibration-data T --unvalidated --no-cache --cache-dir C", "--no-cache exclude each"),
        ("distill CKPT --layers 1 --train-data T -o OUT --int8-mode 2", "none is built; name it with --engine"),
        ("distill CKPT --layers 1 --train-data T -o OUT --target ort-cpu", "none is built; name it"),
        ("predict OUT --text a --column text=x", "--column is of the file that --input names"),
        ("predict OUT --input T --pair x", "--pair is of the text that --text gives"),
    ],
)
def test_commands_refuse_them_before_anything_is_read(
    line: str, message: str, bertc: Bertc, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "T").write_text("text\tlabel\na\t0\n")
    places = {"CKPT": classifier, "OUT": tmp_path / "OUT", "T": tmp_path / "T", "C": tmp_path / "C"}
    called = bertc(*(places.get(part, part) for part in line.split()))
    assert called.code == 2 and message in called.err
    assert [path.name for path in tmp_path.iterdir()] == ["T"]
