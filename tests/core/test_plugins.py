"""The registry: names without imports, the nearest name for one that is none, and what a file has to have."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertc.calibrate.calibrators import calibrator_from_name
from bertc.core.plugins import CALIBRATORS, COMMANDS, CRITERIA, FAMILIES, TARGETS, TASKS, Plugins
from bertc.errors import InputError

ROOT = Path(__file__).parents[2]
KINDS = (TARGETS, TASKS, FAMILIES, CALIBRATORS, CRITERIA, COMMANDS)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
GOOD = "def amax_from_counts(counts, amax, *, percentile):\n    return amax / 2\n"


@pytest.fixture
def more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that the calibrators are found in besides their own."""
    package = importlib.import_module(CALIBRATORS.package)
    before = set(sys.modules)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(f"{CALIBRATORS.package}."):
            del sys.modules[name]
            delattr(package, name.rpartition(".")[2])


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


@each_kind
def test_every_file_of_a_kind_has_what_the_kind_asks_for(kind: Plugins) -> None:
    assert kind.names() and kind.names() == tuple(sorted(kind.names()))
    for name in kind.names():
        assert kind.module(name).__file__ == str(kind.file(name))
        assert not name.startswith("_") and "_" not in name


@each_kind
@pytest.mark.parametrize("name", ["", "nothing-like-it", "__init__", "../max", "_encoder", "plugins.TARGETS"])
def test_another_name_is_refused_with_the_list(kind: Plugins, name: str) -> None:
    for call in (kind.module, kind.file, kind.check_name):
        with pytest.raises(InputError) as caught:
            call(name)
        assert str(caught.value).startswith(f"{kind.kind} '{name}' does not exist")
        assert str(caught.value).endswith(f"choose one of {', '.join(kind.names())}")


@each_kind
def test_a_name_that_is_nearly_one_is_told_the_nearest(kind: Plugins) -> None:
    for name in kind.names():
        if len(name) > 3:
            with pytest.raises(InputError, match=rf"\(did you mean {name}\b.*\?\); choose one of "):
                kind.check_name(f"{name[:-2]}{name[-1]}")
        kind.check_name(name)


def test_names_are_listed_without_importing_anything_of_them() -> None:
    listed = "import sys; from bertc.core import plugins as p; "
    listed += "print(*[n for k in (p.TARGETS, p.TASKS, p.FAMILIES, p.CALIBRATORS, p.CRITERIA, p.COMMANDS) "
    listed += "for n in k.names()]); print(*[n for n in sys.modules if n.startswith(('bertc.', 'numpy', 'onnx'))])"
    done = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    names, modules = done.stdout.splitlines()
    assert {"ort-cpu", "token-classification", "bert", "entropy", "sparsegpt", "build"} <= set(names.split())
    assert set(modules.split()) == {"bertc.errors", "bertc.core", "bertc.core.plugins", "bertc.core.versions"}


def test_a_folder_that_a_program_adds_is_looked_into(more: Path) -> None:
    assert "half-max" not in CALIBRATORS.names()
    write(more, "half_max.py", GOOD)
    write(more, "_part.py", "")
    assert "half-max" in CALIBRATORS.names()
    assert not any("part" in name for name in CALIBRATORS.names())
    assert CALIBRATORS.file("half-max") == more / "half_max.py"
    assert calibrator_from_name("half-max").amax_from_counts(None, 4.0, percentile=99.9) == 2.0  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "amax_from_counts = 3\n", "def amax_from_values(): ...\n"])
def test_a_file_that_lacks_a_function_is_refused_saying_which(text: str, more: Path) -> None:
    write(more, "empty.py", text)
    with pytest.raises(InputError, match=r"empty\.py is no calibrator: it lacks the function amax_from_counts;"):
        calibrator_from_name("empty")


def test_all_that_a_file_lacks_is_told_at_once(more: Path) -> None:
    write(more, "scores.py", "def scores_from_weight(weight, gram): ...\n")
    kind = Plugins(kind="thing", package=CALIBRATORS.package, functions=CRITERIA.functions, constants=("NEEDS_TEXT",))
    with pytest.raises(InputError, match="no thing: it lacks the function prune_weight and the constant NEEDS_TEXT"):
        kind.module("scores")
    write(more, "whole.py", "NEEDS_TEXT = False\ndef scores_from_weight(): ...\ndef prune_weight(): ...\n")
    assert kind.module("whole").NEEDS_TEXT is False
