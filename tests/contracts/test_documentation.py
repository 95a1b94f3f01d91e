"""What the pages name is there: files, modules and their names; and the rooms are those that import-linter knows."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for folder in (".", "docs", "docs/decisions", "benchmarks", "demo") for page in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
SOURCE = re.compile(r"(?<![\w/.-])(?:bertc|tests|docs|benchmarks|demo)/[\w./-]*\w")
DOTTED = re.compile(r"`(bertc(?:\.\w+)+)")
FILES = ("bertc.json",)
"""What looks like a module."""


def faults_of_page(page: Path, text: str) -> Iterator[str]:
    """Give what a page names and is not there. Code that is shown names files that a reader is to add."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (f"no file {link}" for link in LINK.findall(text) if not (page.parent / link).exists())
    yield from (f"no file {path}" for path in SOURCE.findall(text) if "NAME" not in path and not is_there(path))
    yield from (f"no name {name}" for name in DOTTED.findall(text) if name not in FILES and not is_name(name))


def is_there(path: str) -> bool:
    """Say whether a path of the repository exists; results of benchmarks may be named for any CPU."""
    return (ROOT / path).exists() or "CPU" in path


def is_name(name: str) -> bool:
    """Say whether a dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert not list(faults_of_page(page, page.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text, fault",
    [
        ("[gone](docs/gone.md)", "no file docs/gone.md"),
        ("in `bertc/pipeline.py`", "no file bertc/pipeline.py"),
        ("`bertc.pipeline`", "no name bertc.pipeline"),
        ("`bertc.core.keys.key_of_nothing(3)`", "no name bertc.core.keys.key_of_nothing"),
    ],
)
def test_what_is_not_there_is_found(text: str, fault: str) -> None:
    assert fault in faults_of_page(ROOT / "README.md", text)
    there = "[there](docs/cli.md), bertc/core/keys.py, `bertc.core.keys`, `bertc.core.keys.key_of(3)`, `bertc.load`"
    assert not list(faults_of_page(ROOT / "README.md", there))


def test_the_rooms_of_the_architecture_are_the_layers_that_are_checked() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`[^|]+`) \|", page.partition("## Rooms")[2].partition("\n## ")[0], re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(each["layers"] for each in contracts if each.get("containers") == ["bertc"])
    assert [rooms_of(row, "/") for row in table] == [rooms_of(layer, "|") for layer in layers]


def rooms_of(line: str, between: str) -> set[str]:
    """Return the rooms that stand beside each other."""
    return {name.strip(" `") for name in line.split(between)}


def test_the_inputs_of_the_action_are_those_of_its_page_and_all_are_used() -> None:
    action, page = (ROOT / "action.yml").read_text(), (ROOT / "docs" / "ci.md").read_text()
    inputs = re.findall(r"^  ([a-z-]+):$", action.split("inputs:")[1].split("outputs:")[0], flags=re.MULTILINE)
    table = page.split("| input | meaning |")[1].split("\n\n")[0]
    told = [
        name for line in table.splitlines() for name in re.findall(r"`([a-z-]+)`", line.split("|")[1] if line else "")
    ]
    assert sorted(told) == sorted(inputs)
    assert [name for name in inputs if f"inputs.{name} }}}}" not in action.split("runs:")[1]] == []
