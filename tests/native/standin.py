"""A project of three lines of C that hatch_build.py builds as it builds bertc."""

from __future__ import annotations

import shutil
from pathlib import Path

import hatch_build

ROOT = Path(__file__).parents[2]
PER_SET = """
#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
int NAME(dot_, ISA)(const unsigned char *a, const signed char *b, int n);
int NAME(dot_, ISA)(const unsigned char *a, const signed char *b, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
"""
ONCE = """
#include <pthread.h>
__attribute__((visibility("default"))) int answer(void);
int dot_plain(const unsigned char *a, const signed char *b, int n);
int answer(void) { return dot_plain((const unsigned char *)"\\6", (const signed char *)"\\7", 1); }
"""


def write_sources(folder: Path) -> Path:
    """Write what the table of sources names into a folder; return it."""
    folder.mkdir(parents=True)
    (folder / hatch_build.PER_INSTRUCTION_SET).write_text(PER_SET, encoding="utf-8")
    for number, name in enumerate(hatch_build.ONCE):
        (folder / name).write_text("typedef int nothing;\n" if number else ONCE, encoding="utf-8")
    return folder


def write_project(folder: Path) -> Path:
    """Write a whole project with bertc's own settings; return its folder."""
    write_sources(folder / "native")
    (folder / hatch_build.FOLDER).mkdir(parents=True)
    (folder / "bertc/__init__.py").touch()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder
