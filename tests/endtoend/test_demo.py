"""The repository's own model: built with the defaults it passes; with one range damaged the gate stops it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import bertc as package
from bertc.cli.main import run
from tests.endtoend.conftest import Bertc, report_of, run_process

DEMO = Path(__file__).parents[2] / "demo"
DATA = ("--calibration-data", DEMO / "data" / "train.tsv", "--validation-data", DEMO / "data" / "validation.tsv")
FAILURE = re.compile(
    r"not passed: accuracy went from (\d\.\d{4}) to (\d\.\d{4}), a drop of (\d\.\d{4}), (\d\.\d{4}) beyond "
    r"the limit of (\d\.\d{4}) \(1%\); largest errors: (layer\.\d\.\w+), (layer\.\d\.\w+), (layer\.\d\.\w+)"
)

pytestmark = pytest.mark.xdist_group("demo")


def build(out: Path, *options: object) -> list[str]:
    return [str(word) for word in ("build", DEMO / "model", "-o", out, *DATA, *options)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The demo's artefact, built with the defaults."""
    out = tmp_path_factory.mktemp("demo") / "out"
    assert run([*build(out, "--cache-dir", cache), "-q"]) == 0
    return out


@pytest.fixture(scope="module")
def damage() -> ModuleType:
    """The script that damages a table."""
    spec = importlib.util.spec_from_file_location("demo_damage", DEMO / "damage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_passes_with_the_defaults(demo: Path) -> None:
    report = report_of(demo)
    assert report["passed"] is True
    assert 0.85 <= report["accuracy"]["reference"] <= 0.97
    assert report["accuracy"]["samples"] == 378
    assert report["accuracy"]["agreement"] > 0.98
    assert report["data"]["overlap"] == 0
    assert report["engine"]["target"] == "native"
    assert report["quantization"]["gemms_int8"] == 3 * (6 + 2), "attention's two products too"


def test_the_demo_answers(demo: Path) -> None:
    with package.load(demo) as predictor:
        (answer,) = predictor.predict("I was charged twice for the same order")
    assert answer["label"] == "billing_dispute"


def test_a_damaged_range_is_stopped_by_the_gate_in_one_line(
    demo: Path, damage: ModuleType, cache: Path, tmp_path: Path
) -> None:
    site = damage.SITE
    text, before, after = damage.damaged_table((demo / "calibration.json").read_text(encoding="utf-8"), site)
    assert after == pytest.approx(before / 10)
    table = tmp_path / "damaged.json"
    table.write_text(text, encoding="utf-8")
    called = run_process(*build(tmp_path / "out", "--calibration", table, "--cache-dir", cache, "-q"))
    assert called.code == 1
    (line,) = called.err.splitlines()
    found = FAILURE.fullmatch(line)
    assert found is not None, line
    reference, engine, drop, beyond, limit = map(float, found.groups()[:5])
    assert drop == pytest.approx(reference - engine, abs=1.5e-4)
    assert beyond == pytest.approx(drop - limit, abs=1.5e-4)
    assert site == found.groups()[5], "the damaged site comes first"
    assert len(set(found.groups()[5:])) == 3
    report = report_of(tmp_path / "out")
    assert report["passed"] is False
    assert report["gates"][0]["verdict"] == "fail"


def test_the_same_table_undamaged_passes(bertc: Bertc, demo: Path, cache: Path, tmp_path: Path) -> None:
    called = bertc(*build(tmp_path / "out", "--calibration", demo / "calibration.json", "--cache-dir", cache))
    assert called.code == 0
    assert not called.err
    assert report_of(tmp_path / "out")["accuracy"] == report_of(demo)["accuracy"]


def test_the_damaged_engine_is_written_and_fails_again_when_validated(
    bertc: Bertc, demo: Path, damage: ModuleType, cache: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "damaged.json", tmp_path / "out"
    table.write_text(damage.damaged_table((demo / "calibration.json").read_text(encoding="utf-8"), damage.SITE)[0])
    built = bertc(*build(out, "--calibration", table, "--cache-dir", cache))
    again = bertc("validate", out, "--validation-data", DEMO / "data" / "validation.tsv")
    assert (built.code, again.code) == (1, 1)
    assert again.err == built.err
    assert bertc("gate", out, "--baseline", tmp_path / "none.json").code == 2
    written = bertc("gate", demo, "--baseline", tmp_path / "baseline.json", "--update")
    compared = bertc("gate", out, "--baseline", tmp_path / "baseline.json", "--json")
    assert (written.code, compared.code) == (0, 1)
    assert json.loads(compared.out)["passed"] is False
    assert bertc("gate", demo, "--baseline", tmp_path / "baseline.json").code == 0


def test_labels_in_another_order_are_said_first_and_do_not_pass(cache: Path, tmp_path: Path) -> None:
    labels = list(json.loads((DEMO / "model" / "config.json").read_text(encoding="utf-8"))["id2label"].values())
    header, *lines = (DEMO / "data" / "validation.tsv").read_text(encoding="utf-8").splitlines()
    place = header.split("\t").index("label")
    rows = [line.split("\t") for line in lines]
    for row in rows:
        row[place] = str(len(labels) - 1 - labels.index(row[place]))
    turned = tmp_path / "turned.tsv"
    turned.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    called = run_process(*build(out, "--cache-dir", cache, "--validation-data", turned))
    assert called.code == 1
    assert called.out.startswith("doubt") and "the labels are numbered differently" in called.out.splitlines()[0]
    assert "not passed: the float model itself scores" in called.err
    report = report_of(out)
    assert report["passed"] is False and report["doubt"]["grave"] is True
    assert report["doubt"]["reason"] == report["gates"][0]["reason"]
    again = run_process("validate", str(out), "--validation-data", str(turned))
    assert again.code == 1 and again.out.startswith("doubt")
    options = ("--validation-data", turned, "--any-reference", "--max-drop", "0.01abs")
    accepted = run_process(*build(tmp_path / "two", "--cache-dir", cache, *options))
    assert accepted.code == 0
    assert accepted.out.startswith("doubt") and report_of(tmp_path / "two")["gates"][0]["drop_limit"] is not None
