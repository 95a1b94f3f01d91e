"""README's tables of families and heads say what the code does, and every family and task is in them."""

from __future__ import annotations

import runpy
from pathlib import Path

from bertc.core.plugins import FAMILIES, TASKS

ROOT = Path(__file__).parents[2]


def test_the_tables_of_families_and_heads_are_up_to_date() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_families.py"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page == generator["readme_text"](page), "run python docs/generate_families.py"
    assert all(f"`{name}`" in generator["table_text"]() for name in TASKS.names())


def test_a_family_that_is_left_out_is_noticed() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_families.py"))
    assert {*generator["NAMES"]} == {*FAMILIES.names()} and {*generator["HEADS"]} == {*TASKS.names()}
    assert {*generator["PROOF"]} < {*generator["NAMES"]}
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generator["readme_text"](page.replace("| MPNet |", "| MPNetwork |")) == page
