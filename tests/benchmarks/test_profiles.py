"""`benchmarks/operators.py` and `options.py`, on a tiny artefact: what they measure is what the engine runs."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.artefacts import Bertc

FOLDER = Path(__file__).parents[2] / "benchmarks"
Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Give a function that reads a script as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def read(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return read


def built(bertc: Bertc, classifier: Path, rows: Path, out: Path, target: str) -> Path:
    options = ("--target", target, "--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", out, *options).code == 0
    return out


def run_script(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    module.main()


@pytest.mark.parametrize(
    "target, gemm",
    [
        ("ort-cpu", "MatMulIntegerToFloat"),
        ("float", "MatMul"),
        pytest.param("openvino", "i8", marks=pytest.mark.openvino),
    ],
)
def test_the_profile_names_the_gemms(
    target: str, gemm: str, script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = built(bertc, classifier, rows, tmp_path / "out", target)
    arguments = ("--artefact", out, "--shape", "1x8,2x16", "--runs", 2, "--out", tmp_path / "found.json")
    run_script(script("operators"), monkeypatch, *arguments)
    document = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    profile = document["profiles"][str(out)]
    assert set(profile) == {"1x8", "2x16"}
    assert any(gemm in kind and milliseconds > 0 for kind, milliseconds in profile["2x16"].items())
    page = (tmp_path / "found.md").read_text(encoding="utf-8")
    assert f"## {out}" in page and "(100%)" in page


@pytest.mark.parametrize("target", ["ort-cpu", pytest.param("openvino", marks=pytest.mark.openvino)])
def test_every_option_is_timed_beside_our_own_choice(
    target: str, script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = built(bertc, classifier, rows, tmp_path / "out", target)
    module = script("options")
    arguments = ("--artefact", out, "--shape", "1x8", "--rounds", 1, "--out", tmp_path / "found.json")
    run_script(module, monkeypatch, *arguments)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["ratios"][str(out)]
    variants = module.ORT_VARIANTS if target == "ort-cpu" else module.OPENVINO_VARIANTS
    assert list(found) == list(variants)
    assert found[module.OWN] == {"error": 0.0, "1x8": 1.0}
    assert all(each["1x8"] > 0 for each in found.values())


@pytest.mark.parametrize("name", ["operators", "options"])
def test_an_engine_for_gpus_is_refused(
    name: str, script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = built(bertc, classifier, rows, tmp_path / "out", "float")
    module = script(name)
    monkeypatch.setattr(module, "verified_manifest", lambda folder: SimpleNamespace(target="ort-cuda"))
    with pytest.raises(SystemExit, match="is of the target ort-cuda"):
        run_script(module, monkeypatch, "--artefact", out, "--shape", "1x8")
