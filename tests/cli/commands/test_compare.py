"""`bertc compare`: two artefacts, or two calibration tables, side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.artefacts import Bertc, PathOf


def test_compare_artefacts_and_tables(
    bertc: Bertc, tmp_path: Path, artefact: Path, classifier: Path, rows: Path
) -> None:
    other = tmp_path / "other"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", other, *options, "--calibrator", "max", "--int8-mode", "2").code == 0
    called = bertc("compare", artefact, other)
    assert called.code == 0 and "48 rows paired" in called.out and "first's range" in called.out
    facts = bertc("compare", artefact, other, "--json").json
    size = json.loads((artefact / "report.json").read_text(encoding="utf-8"))["engine"]["bytes"]
    assert facts["engine_bytes"][0] == size < facts["bytes"][0]  # type: ignore[operator]
    assert isinstance(facts["paired"], dict) and facts["paired"]["rows"] == 48
    called = bertc("compare", artefact / "calibration.json", other / "calibration.json", "--json")
    ratios = [site["ratio"] for site in called.json["sites"]]  # type: ignore[attr-defined]
    assert set(ratios) == {1.0}
    called = bertc("compare", artefact / "calibration.json", other / "calibration.json", "--calibrator", "mse")
    assert called.code == 0 and "first's range" in called.out
    assert bertc("compare", artefact, artefact / "calibration.json").code == 2
    assert "absent does not exist" in bertc("compare", artefact, artefact / "absent").err


def test_compare_takes_options_of_what_is_there(bertc: Bertc, artefact: Path) -> None:
    table = artefact / "calibration.json"
    called = bertc("compare", artefact, artefact, "--calibrator", "max")
    assert called.code == 2 and "--calibrator is of tables, and these are artefacts; leave it out" in called.err
    called = bertc("compare", table, table, "--allow-failed")
    assert called.code == 2 and "--allow-failed is of artefacts, and these are tables; leave it out" in called.err
    called = bertc("compare", table, table, "--calibrator", "max", "--percentile", 99)
    assert called.code == 2 and "--percentile is of --calibrator percentile, and max was given" in called.err
    assert bertc("compare", table, table, "--percentile", 99).code == 0


def test_compare_does_not_call_failed_what_nobody_validated(
    bertc: Bertc, artefact: Path, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", tmp_path / "other", *options).code == 0
    called = bertc("compare", artefact, tmp_path / "other")
    assert re.search(r"verdict +passed +unvalidated", called.out) and "not passed" not in called.out
    assert bertc("compare", artefact, tmp_path / "other", "--json").json["unvalidated"] == [False, True]


def test_compare_says_in_its_own_words_why_rows_are_not_paired(
    bertc: Bertc, artefact: Path, artefact_of: PathOf
) -> None:
    """Its remedy is not that of `bertc gate`, which has a baseline."""
    called = bertc("compare", artefact, artefact_of("question-answering"))
    assert called.code == 0 and "the first is of the task sequence-classification" in called.out
    assert "paired where both were built for one task" in " ".join(called.out.split())
    assert "baseline" not in called.out and "--update" not in called.out
    assert "not paired" not in bertc("compare", artefact, artefact).out
