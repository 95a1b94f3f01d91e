"""The benchmarks of artefacts, on a tiny one: what they measure is what the engine runs."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from bertc.runtime.plan.packing import are_sparse, int8_panels, sparse_panels
from bertc.runtime.plan.plan_files import PLAN, read_plan
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
        monkeypatch.setitem(sys.modules, spec.name, module)
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
        ("native", "gemm_int8"),
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


def test_the_native_engines_products_are_those_of_the_roofline(
    script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = built(bertc, classifier, rows, tmp_path / "out", "native")
    arguments = ("--artefact", out, "--shape", "2x16", "--runs", 1, "--out", tmp_path / "found.json")
    run_script(script("operators"), monkeypatch, *arguments)
    products = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["products"][str(out)]["2x16"]
    monkeypatch.syspath_prepend(str(FOLDER / "peers"))
    config = json.loads((classifier / "config.json").read_text(encoding="utf-8"))
    plan, _ = read_plan(out / PLAN)
    dimensions = {
        "hidden": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "intermediate": next(step.n for step in plan.steps if "gelu" in step.name),  # with channels that were split
    }
    of_layers = sum(count for kind, count in products.items() if not kind.startswith("gemm_f32"))
    assert of_layers == importlib.import_module("roofline").products(dimensions, "2x16", first_tokens=True)
    assert "10^9 products per second" in (tmp_path / "found.md").read_text(encoding="utf-8")


def test_native_has_its_own_ways_with_texts_and_others_theirs(
    script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    native = built(bertc, classifier, rows, tmp_path / "own", "native")
    ort = built(bertc, classifier, rows, tmp_path / "ort", "ort-cpu")
    arguments = ("--artefact", ort, "--artefact", native, "--data", rows, "--batch", 4, "--rounds", 2)
    with pytest.warns(UserWarning, match="is unvalidated"):
        run_script(script("packing"), monkeypatch, *arguments, "--out", tmp_path / "found.json")
    seconds = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["seconds"]
    ways = ("padded", "sorted", "packed", "all packed")
    assert list(seconds) == [*(f"ort-cpu (ort), {way}" for way in ways), "native (own), calls", "native (own), all"]
    assert all(len(found) == 2 and min(found) > 0 for found in seconds.values())
    assert "| over ort-cpu (ort), padded | over ort-cpu (ort), sorted |" in capsys.readouterr().out


def test_a_peer_of_packing_is_no_artefact_of_ours(script: Script) -> None:
    packing = script("packing")
    ways = {"padded": list, "sorted": list}
    cases = packing.cases_of("NNCF", print, ways, ours=False) | packing.cases_of("native", print, ways, ours=True)
    times = {"NNCF, padded": [2.0], "NNCF, sorted": [0.5], "native, padded": [4.0], "native, sorted": [0.5]}
    found = packing.beside_the_next(cases, times)
    assert found == "As texts arrive: native, padded: 0.50 (0.50 to 0.50) over NNCF, padded"
    alone = {name: case for name, case in cases.items() if case.ours}
    assert packing.beside_the_next(alone, times) == ""


def test_opening_reads_seconds_and_memory(
    script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = script("opening")
    monkeypatch.setattr(opening, "BATCH", (2, 8))
    monkeypatch.setattr(opening, "VOCABULARY", 50)
    out = built(bertc, classifier, rows, tmp_path / "out", "native")
    found = opening.opening(str(out), 1)
    assert list(found) == [*opening.SECONDS, *opening.MEMORY]
    assert all(found[name] > 0 for name in opening.SECONDS) and found["own after a call"] >= found["own"] - 1
    kept = {name: [value, 2 * value] for name, value in found.items()}
    slower = {name: [3 * value for value in values] for name, values in kept.items()}
    facts = {"cpu": "a CPU", "threads": 1, "versions": {}, "command": "", "rounds": 2}
    page = opening.page({**facts, "opened": {"slow": slower, "fast": kept}})
    assert "(3.00, 3.00 to 3.00)" in page and "(1.00, 1.00 to 1.00)" in page


@pytest.mark.parametrize(("k", "n"), [(64, 64), (37, 100), (8, 3)])
def test_weights_that_a_build_made_sparse_are_measured_as_dense_ones_too(script: Script, k: int, n: int) -> None:
    random = np.random.default_rng(0)
    kept = random.random((k // 4 + 1, 4, n)).argsort(axis=1).argsort(axis=1) < 2
    weights = (random.integers(-127, 128, (k, n)) * kept.reshape(-1, n)[:k]).astype(np.int8)
    panels = int8_panels(weights)
    assert are_sparse(panels)
    np.testing.assert_array_equal(script("sparse").dense_panels(sparse_panels(panels)), panels)


def test_callers_of_one_engine_are_counted_together(
    script: Script, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaling = script("scaling")
    monkeypatch.setattr(scaling, "SECONDS_PER_MEASUREMENT", 0.02)
    monkeypatch.setattr(scaling, "VOCABULARY", 50)
    monkeypatch.setattr(scaling, "CALLED", ((2, 8),))
    out = built(bertc, classifier, rows, tmp_path / "out", "native")
    with scaling.predictor_from_path(out, threads=1) as predictor:
        found = scaling.by_callers({"native": predictor}, 1)
    assert set(found) == {"2 x 8"} and len(found["2 x 8"]["native"]) == len(scaling.CALLERS)
    assert min(found["2 x 8"]["native"]) > 0


def test_an_error_of_a_caller_is_not_swallowed(script: Script) -> None:
    def broken() -> None:
        raise ValueError("no such output")

    with pytest.raises(ValueError, match="no such output"):
        script("scaling").calls_per_second(broken, 2)


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
