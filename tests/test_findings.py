"""Findings about other projects: each script stands alone, and the pages that name scripts and tests name real ones.

The scripts themselves are not run: they install packages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
TABLE = (FOLDER / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "behaviour.md").read_text(encoding="utf-8")

REQUIRED = {
    "a temporary folder": r"^folder=\$\(mktemp -d\)$",
    "a trap that removes it": r"^trap 'rm -rf \"\$folder\"' EXIT$",
    "an environment of its own": r"-m venv venv$",
    "the versions in its head": r"^# Versions: ",
    "the date of the measurement": r"^# Measured: 20\d\d-\d\d",
    "what was expected": r"^# Expected: ",
    "what was seen": r"^# Seen: ",
    "what it printed": r"^#   \S",
}
BANNED = {
    "an address": r"https?://",
    "bertc": r"\bbertc\b",
    "a place of one machine": r"(?<![\w$.])/(work|home|root|opt)/",
}


def packages(text: str) -> list[str]:
    """Return what a script installs, as NAME==VERSION: the words of its first `pip` and `npm install`."""
    found = (re.search(rf"{name} install((?:[^\n]*\\\n)*[^\n>]*)", text, re.MULTILINE) for name in ("-m pip", "^npm"))
    words = " ".join(each.group(1) for each in found if each).replace("\\\n", " ").split()
    return [re.sub(r"(?<=.)@", "==", word) for word in words if not word.startswith("-")]


def faults_of(path: Path, table: str) -> Iterator[str]:
    """Say what keeps a script from standing alone, and what its row in the table lacks."""
    text = path.read_text(encoding="utf-8")
    if not os.access(path, os.X_OK):
        yield "not executable"
    yield from (f"lacks {what}" for what, pattern in REQUIRED.items() if not re.search(pattern, text, re.MULTILINE))
    yield from (f"holds {what}" for what, pattern in BANNED.items() if re.search(pattern, text))
    installed = packages(text)
    if not installed:
        yield "installs nothing"
    yield from (f"{word} is not pinned" for word in installed if not re.fullmatch(r"(@[\w-]+/)?[\w.-]+==[\w.]+", word))
    row = re.search(rf"^\| \[{re.escape(path.name)}\]\({re.escape(path.name)}\) \| ([^|]+) \|", table, re.MULTILINE)
    if row is None:
        yield "has no row in README.md"
        return
    named = (entry.strip().replace(" ", "==") for entry in row.group(1).split(","))
    yield from (f"does not install {entry} of its row" for entry in named if entry not in installed)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_finding_stands_alone(path: Path) -> None:
    assert not list(faults_of(path, TABLE))


def test_what_keeps_a_script_from_standing_alone_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bad.sh"
    path.write_text("pip install onnx\npython -m pip install --quiet \\\n  onnx==1.23.2 numpy\nimport bertc\n")
    path.chmod(0o644)
    lacking = {f"lacks {what}" for what in REQUIRED} | {"has no row in README.md"}
    assert set(faults_of(path, "")) == lacking | {"not executable", "numpy is not pinned", "holds bertc"}
    row = "| [bad.sh](bad.sh) | onnx 1.20.0 | surprise | people |"
    assert "does not install onnx==1.20.0 of its row" in set(faults_of(path, row))
    path.write_text("npm install --silent @one/two@1.2.3 three >/dev/null")
    faults = set(faults_of(path, "| [bad.sh](bad.sh) | @one/two 1.2.3 | surprise | people |"))
    assert "three is not pinned" in faults
    assert not {"@one/two==1.2.3 is not pinned", "does not install @one/two==1.2.3 of its row"} & faults
    path.write_text("echo nothing")
    assert "installs nothing" in set(faults_of(path, ""))


def missing_names(page: str, tests: str, scripts: set[str]) -> set[str]:
    """Return the tests and scripts that a page names and that do not exist."""
    named = set(re.findall(r"`(test_\w+)`", page)) - set(re.findall(r"def (test_\w+)\(", tests))
    return named | (set(re.findall(r"[(`]([\w-]+\.sh)[)`]", page)) - scripts)


def test_pages_name_what_exists() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    scripts = {path.name for path in SCRIPTS}
    assert not missing_names(PAGE, tests, scripts)
    assert not missing_names(TABLE, tests, scripts)


def test_a_name_that_does_not_exist_is_found() -> None:
    page = "`test_there` `test_gone` `there.sh` [gone.sh](gone.sh)"
    assert missing_names(page, "def test_there(", {"there.sh"}) == {"test_gone", "gone.sh"}
