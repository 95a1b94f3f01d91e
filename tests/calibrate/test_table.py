"""The calibration table: bit-exact on disk, mergeable, and refused when it is damaged or would collapse the model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bertc.calibrate import table as table_module
from bertc.calibrate.histogram import counts_from_values
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import (
    CalibrationTable,
    Statistics,
    merge_tables,
    table_from_path,
    text_from_table,
)
from bertc.errors import InputError
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.ir.sites import Role, Site
from tests.tiny import TinyModel, calibrated, quantized, random_features, tiny_scheme

GELU = Site(0, Role.ACTIVATION)


def statistics(values: np.ndarray) -> Statistics:
    """Return what an observer would have seen in values [tokens, channels]."""
    return Statistics(
        counts=counts_from_values(values),
        amax=float(np.abs(values).max()),
        channel_amax=np.abs(values).max(axis=0),
    )


def one_site(values: np.ndarray, **changes: Any) -> CalibrationTable:
    return CalibrationTable(sites={GELU: statistics(values)}, checkpoint="a", origin={"rows": 1}, **changes)


def noise(seed: int, rows: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)


def test_a_table_reads_back_bit_by_bit(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    table = replace(tiny_classifier.table, overrides={GELU: 0.1 + 0.2})
    path = tmp_path / "table.json"
    path.write_text(text_from_table(table), encoding="utf-8")
    again = table_from_path(path)
    assert text_from_table(again) == text_from_table(table)
    assert (again.exponent, again.checkpoint, again.origin) == (
        DEFAULT_SMOOTHING,
        "tiny",
        {"data": "random", "rows": 48},
    )
    assert again.overrides == table.overrides
    for mine, other in ((again.sites, table.sites), (again.smoothed, table.smoothed)):
        assert mine.keys() == other.keys()
        for site, found in mine.items():
            assert found.amax == other[site].amax
            np.testing.assert_array_equal(found.counts, other[site].counts)
            np.testing.assert_array_equal(found.channel_amax, other[site].channel_amax)
    for site, factors in again.smoothing.items():
        np.testing.assert_array_equal(factors, table.smoothing[site])


def test_statistics_merge_in_any_order_to_the_same_bits(tmp_path: Path) -> None:
    parts = [one_site(noise(seed)) for seed in range(4)]
    texts = set()
    for order in itertools.permutations(parts):
        total = order[0]
        for part in order[1:]:
            total = merge_tables(total, part)
        texts.add(text_from_table(total))
    left = merge_tables(merge_tables(parts[0], parts[1]), merge_tables(parts[2], parts[3]))
    texts.add(text_from_table(left))
    together = one_site(np.concatenate([noise(seed) for seed in range(4)]))
    texts.add(text_from_table(replace(together, origin={"rows": 4})))
    assert len(texts) == 1
    assert text_from_table(parts[0]) not in texts


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "b"},
        {"sites": {}},
        {"sites": {Site(1, Role.ACTIVATION): statistics(noise(0))}},
        {"smoothing": {GELU: np.ones(8, np.float32)}},
        {"overrides": {GELU: 1.0}},
    ],
    ids=["checkpoint", "fewer sites", "other sites", "smoothing", "overrides"],
)
def test_tables_of_different_models_are_not_merged(change: dict[str, Any]) -> None:
    first = one_site(noise(0))
    with pytest.raises(InputError, match="cannot be merged"):
        merge_tables(first, replace(first, **change))
    assert merge_tables(first, first).sites[GELU].counts.sum() == 2 * first.sites[GELU].counts.sum()


def test_tables_smoothed_by_different_factors_are_not_merged(tiny_classifier: TinyModel) -> None:
    other = calibrated(tiny_classifier.graph, random_features(8, seed=9))
    assert other.sites.keys() == tiny_classifier.table.sites.keys()
    with pytest.raises(InputError, match="smoothing factors"):
        merge_tables(tiny_classifier.table, other)


Edit = Callable[[dict[str, Any]], object]
DAMAGE: dict[str, Edit] = {
    "another schema": lambda document: document.update(schema=2),
    "no schema": lambda document: document.pop("schema"),
    "no sites": lambda document: document.pop("sites"),
    "sites are a list": lambda document: document.update(sites=[]),
    "a site is a number": lambda document: document["sites"].update({"layer.0.gelu": 3}),
    "a name is no site": lambda document: document["sites"].update({"layer.0.glue": document["sites"]["layer.0.gelu"]}),
    "a histogram is damaged": lambda document: document["sites"]["layer.0.gelu"].update(histogram="eJx"),
    "a histogram is a number": lambda document: document["sites"]["layer.0.gelu"].update(histogram=7),
    "a range is negative": lambda document: document["sites"]["layer.0.gelu"].update(amax=-1.0),
    "a range is infinite": lambda document: document["sites"]["layer.0.gelu"].update(amax=float("inf")),
    "a range is a word": lambda document: document["sites"]["layer.0.gelu"].update(amax="wide"),
    "a channel is not a number": lambda document: document["sites"]["layer.0.gelu"].update(channel_amax=[float("nan")]),
    "channels are nested": lambda document: document["sites"]["layer.0.gelu"].update(channel_amax=[[1.0]]),
    "a factor is zero": lambda document: document["smoothing"].update({"layer.0.gelu": [0.0] * 128}),
    "a smoothed site was not seen": lambda document: document["smoothed"].pop("layer.0.gelu"),
    "an override is negative": lambda document: document["overrides"].update({"layer.0.gelu": -1}),
    "the origin is a word": lambda document: document.update(origin="x"),
}


@pytest.mark.parametrize("edit", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_table_is_refused(edit: Edit, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    document = json.loads(text_from_table(tiny_classifier.table))
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert table_from_path(path).sites  # undamaged, it is read
    edit(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError):
        table_from_path(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b'"schema"', b"\xff\xfe", b"site,amax\n"])
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"table\.json"):
        table_from_path(path)


def test_another_json_file_is_said_to_be_no_table(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": 1, "checkpoint": "x", "sites": []}', encoding="utf-8")
    with pytest.raises(InputError, match=r"is not a calibration table; give one that bertc calibrate wrote"):
        table_from_path(path)
    path.write_text(text_from_table(tiny_classifier.table), encoding="utf-8")
    assert table_from_path(path).sites
    path.write_text(text_from_table(tiny_classifier.table).replace('"schema": 1', '"schema": 2'), encoding="utf-8")
    with pytest.raises(InputError, match=r"is not a calibration table of schema 1; calibrate again"):
        table_from_path(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        table_from_path(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        table_from_path(tmp_path)


def thousandth(counts: np.ndarray, amax: float, *, percentile: float) -> float:
    """Return what the calibrator of onnxruntime#10571 returned."""
    return amax / 1000


def test_a_range_that_would_collapse_the_model_is_refused_by_the_site_s_name(
    tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = tiny_scheme("1")
    quantized(tiny_classifier, scheme, calibrator="entropy")  # honest, it passes
    broken = SimpleNamespace(amax_from_counts=thousandth)
    monkeypatch.setattr(table_module, "calibrator_from_name", lambda name: broken)
    with pytest.raises(InputError, match=r"'entropy' gives layer\.0\.\w+ the range .* collapse the model"):
        quantized(tiny_classifier, scheme, calibrator="entropy")


@pytest.mark.parametrize("site", [GELU, Site(0, Role.SCORES), Site(0, Role.CONTEXT)])
def test_every_site_is_guarded(site: Site, tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "calibrator_from_name", lambda name: SimpleNamespace(amax_from_counts=thousandth))
    with pytest.raises(InputError, match=site.name.replace(".", r"\.")):
        tiny_classifier.table.amax(site, RangeMethod(calibrator="max", percentile=99.99), smoothed=False)


def test_clipping_outliers_on_purpose_is_no_collapse() -> None:
    values = noise(0, 20_000)
    values[::5000, 3] = 90.0
    table = one_site(values)
    clipped = table.amax(GELU, RangeMethod(percentile=99.9), smoothed=False)
    assert clipped < 10 < table.amax(GELU, RangeMethod(calibrator="max", percentile=99.9), smoothed=False) == 90


def test_a_site_of_zeros_has_a_range_that_is_not_refused() -> None:
    table = one_site(np.zeros((5, 8), np.float32))
    for calibrator in ("max", "percentile", "mse", "entropy"):
        assert table.amax(GELU, RangeMethod(calibrator=calibrator, percentile=99.99), smoothed=False) == 0


def test_probabilities_reach_one_whatever_was_seen_and_an_override_wins(tiny_classifier: TinyModel) -> None:
    probs = Site(0, Role.PROBS)
    table = tiny_classifier.table
    assert table.sites[probs].amax < 1
    assert table.amax(probs, RangeMethod(calibrator="max", percentile=99.99), smoothed=False) == 1
    fixed = replace(table, overrides={probs: 0.5, GELU: 0.25})
    assert fixed.amax(probs, RangeMethod(calibrator="max", percentile=99.99), smoothed=False) == 0.5
    assert fixed.amax(GELU, RangeMethod(calibrator="max", percentile=99.99), smoothed=False) == 0.25


def test_a_site_that_the_table_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"no site layer\.7\.gelu"):
        one_site(noise(0)).statistics(Site(7, Role.ACTIVATION), smoothed=False)


def test_smoothed_statistics_are_read_only_on_demand(tiny_classifier: TinyModel) -> None:
    plain = tiny_classifier.table.statistics(GELU, smoothed=False)
    smoothed = tiny_classifier.table.statistics(GELU, smoothed=True)
    assert plain is tiny_classifier.table.sites[GELU] and smoothed is tiny_classifier.table.smoothed[GELU]
    assert plain.amax != smoothed.amax


def test_the_error_of_a_range_is_that_of_the_arithmetic() -> None:
    values = noise(1)
    found = statistics(values)
    scale = 2.0 / 127
    codes = np.clip(np.rint(np.abs(values) / scale), 0, 127)
    expected = ((codes * scale - np.abs(values)) ** 2).sum() / (values**2).sum()
    assert found.quantization_error(2.0) == pytest.approx(expected, rel=0.02)
    assert found.quantization_error(0.0) == pytest.approx(1, abs=1e-6)
