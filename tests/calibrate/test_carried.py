"""Ranges that travel with a checkpoint, through the commands: used, overruled and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.calibrate.carried import own_table
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import table_from_path, text_from_table
from bertc.checkpoint import checkpoint_from_path
from bertc.ir.affine import scale_from_amax
from bertc.ir.sites import Role, Site, site_from_name
from tests.artefacts import Bertc, PathOf
from tests.fixtures import write_tiny_bert
from tests.foreign import FASTER_TRANSFORMER, LAYERS, amax_of, change, scalar, write_foreign
from tests.quantize.test_counts import CASES
from tests.tiny import tiny_scheme

TASK = "sequence-classification"
MODE_2 = ("--int8-mode", "2")
GELU = "bert.encoder.layer.1.output.dense._input_quantizer._amax"
TIED = {
    role: group for group in (("query_gemm", "key_gemm", "value_gemm"), ("query", "key", "value")) for role in group
}


def trained(site: Site) -> float:
    """Return the range that the buffers give a site: the group's largest where Q, K and V are tied."""
    group = TIED.get(site.role, (site.role,))
    return max(amax_of(site.layer, module) for module, role in FASTER_TRANSFORMER.items() if role in group)


def scales_of(path: Path) -> dict[str, Any]:
    """Return a graph's activation scales by site."""
    values = ir.load(path).graph.initializers.values()
    found = {str(value.name).removesuffix(".scale"): value for value in values if str(value.name).endswith(".scale")}
    return {name: value.const_value.numpy() for name, value in found.items() if value.const_value is not None}


@pytest.fixture
def cached(tmp_path: Path) -> tuple[object, ...]:
    """Options that keep a run apart from others."""
    return ("--cache-dir", tmp_path / "cache")


@pytest.fixture
def built(bertc: Bertc, data_of: PathOf, tmp_path: Path, cached: tuple[object, ...]) -> Any:
    """Give a function that builds a checkpoint in mode 2 without calibration, and returns its report."""

    def build(model: Path, *options: object, out: str = "out") -> dict[str, Any]:
        validation = ("--validation-data", data_of(TASK), "--max-drop", "2abs")
        called = bertc("build", model, "-o", tmp_path / out, *MODE_2, *validation, *cached, *options)
        assert called.code == 0, called.err
        report: dict[str, Any] = json.loads((tmp_path / out / "report.json").read_text(encoding="utf-8"))
        return report

    return build


@pytest.mark.parametrize("tool", ["faster_transformer", "tensorflow"])
def test_the_engine_has_the_buffers_ranges(built: Any, tmp_path: Path, tool: str) -> None:
    report = built(write_foreign(tmp_path / "model", tool))
    lowered = [site for site in report["sites"] if site["lowered"]]
    assert lowered
    for site in lowered:
        assert site["amax"] == pytest.approx(trained(site_from_name(site["site"])), rel=1e-6)
        assert (site["error"], site["histogram"]) == (None, None)  # nothing was observed
    counts = next(case["counts"] for case in CASES if case["options"] == {"mode": "2"})
    assert {role: counts[role] for role in report["quantization"]["roles"]} == report["quantization"]["roles"]
    assert report["data"]["calibration"]["path"] == "quantizers' buffers of the checkpoint"
    assert report["quantization"]["calibrator"] == "none: the checkpoint's own ranges"


def test_a_changed_buffer_changes_the_engine(built: Any, tmp_path: Path) -> None:
    model = write_foreign(tmp_path / "model")
    before = built(model, out="before")
    change(model, **{GELU: scalar(0.25)})
    after = built(model, out="after")
    amax = [{site["site"]: site["amax"] for site in report["sites"]} for report in (before, after)]
    assert {name for name in amax[0] if amax[0][name] != amax[1][name]} == {"layer.1.gelu"}
    models = [(tmp_path / out / "model.onnx").read_bytes() for out in ("before", "after")]
    assert models[0] != models[1]


def test_the_graph_has_the_golden_counts_and_the_buffers_scales(
    bertc: Bertc, tmp_path: Path, cached: tuple[object, ...]
) -> None:
    model = write_foreign(tmp_path / "model")
    called = bertc("quantize", model, "-o", tmp_path / "q.onnx", "--int8-mode", "3", "--json", *cached)
    assert called.code == 0, called.err
    assert called.json["counts"] == next(case["counts"] for case in CASES if case["options"] == {"mode": "3"})
    scales = scales_of(tmp_path / "q.onnx")
    assert set(scales) == {Site(layer, role).name for layer in range(LAYERS) for role in Role}
    for name, scale in scales.items():
        np.testing.assert_allclose(scale, scale_from_amax(trained(site_from_name(name))), rtol=1e-6)


def test_qdqbert_runs_in_mode_1(bertc: Bertc, tmp_path: Path, cached: tuple[object, ...]) -> None:
    model = write_foreign(tmp_path / "model", "qdqbert")
    called = bertc("export", model, "-o", tmp_path / "model.onnx", "--smoothing", "0", *cached)
    assert called.code == 0, called.err
    onnx.checker.check_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("tool", "options", "message"),
    [
        (
            "qdqbert",
            MODE_2,
            r"no site layer\.0\.query_gemm and 11 more sites, which INT8 mode 2 quantizes.*--keep-float",
        ),
        ("faster_transformer", (*MODE_2, "--granularity", "channel"), r"none per channel.*--granularity tensor"),
        ("faster_transformer", ("--int8-mode", "1"), r"no smoothing factors.*--smoothing 0, or .*--calibration-data"),
        ("faster_transformer", (*MODE_2, "--calibrator", "mse"), r"no histograms.*leave out --calibrator"),
    ],
)
def test_what_a_scheme_lacks_is_said_in_one_line(
    bertc: Bertc, tmp_path: Path, cached: tuple[object, ...], tool: str, options: tuple[str, ...], message: str
) -> None:
    model = write_foreign(tmp_path / "model", tool)
    called = bertc("quantize", model, "-o", tmp_path / "q.onnx", *options, *cached)
    assert called.code == 2
    (line,) = called.err.strip().splitlines()[-1:]
    assert re.search(message, line), line
    assert not (tmp_path / "q.onnx").exists()


def test_a_table_of_ranges_alone_is_refused_like_the_buffers(
    bertc: Bertc, built: Any, tmp_path: Path, cached: tuple[object, ...]
) -> None:
    """The artefact's calibration.json can be given to another build, whose scheme may need more."""
    model = write_foreign(tmp_path / "model")
    built(model)
    table = ("--calibration", tmp_path / "out" / "calibration.json")
    assert bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, *table, *cached).code == 0
    called = bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, "--granularity", "channel", *table, *cached)
    assert (called.code, "none per channel" in called.err) == (2, True)


def test_named_text_wins_and_the_report_says_so(built: Any, data_of: PathOf, tmp_path: Path) -> None:
    model = write_foreign(tmp_path / "model")
    report = built(model, "--calibration-data", data_of(TASK))
    assert report["data"]["calibration"]["path"] == str(data_of(TASK))
    assert any("its quantizers' buffers), which were not used" in text for text in report["warnings"])
    assert not any("which were not used" in text for text in built(model, out="own")["warnings"])


def test_notes_of_the_buffers_reach_the_report_and_the_terminal(
    built: Any, bertc: Bertc, tmp_path: Path, cached: tuple[object, ...]
) -> None:
    model = write_foreign(tmp_path / "model")
    change(model, **{"bert.encoder.layer.0.attention.self.key._input_quantizer._amax": scalar(2)})
    assert any("disagree at 1 sites" in text for text in built(model)["warnings"])
    assert "disagree at 1 sites" in bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, *cached).err


def test_a_table_in_the_folder_comes_before_the_buffers(
    bertc: Bertc, built: Any, data_of: PathOf, tmp_path: Path, cached: tuple[object, ...]
) -> None:
    model = write_foreign(tmp_path / "model")
    text = ("--calibration-data", data_of(TASK))
    assert bertc("calibrate", model, "-o", tmp_path / "table.json", *text, *cached).code == 0
    (tmp_path / "table.json").rename(model / "calibration.json")
    named, own = built(model, *text, out="named"), built(model, out="own")
    ranges = [[(site["site"], site["amax"]) for site in report["sites"]] for report in (named, own)]
    assert ranges[0] == ranges[1]
    assert own["data"]["calibration"]["path"] == f"calibration.json of the checkpoint (from {data_of(TASK)})"
    assert own["data"]["overlap"] == named["data"]["overlap"] > 0
    assert any("(calibration.json), which were not used" in text for text in named["warnings"])
    itself = built(model, "--calibration", model / "calibration.json", out="itself")
    assert not any("which were not used" in text for text in itself["warnings"])


def test_a_table_of_another_checkpoint_is_refused(
    bertc: Bertc, data_of: PathOf, tmp_path: Path, cached: tuple[object, ...]
) -> None:
    model = write_tiny_bert(tmp_path / "model", positions=64)
    text = ("--calibration-data", data_of(TASK))
    assert bertc("calibrate", model, "-o", tmp_path / "table.json", *text, *cached).code == 0
    (tmp_path / "table.json").rename(model / "calibration.json")
    write_tiny_bert(model, positions=64, seed=1)
    called = bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, *cached)
    assert (called.code, "made for another checkpoint" in called.err) == (2, True)
    assert bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, *text, *cached).code == 0


def test_a_checkpoint_without_ranges_needs_text(bertc: Bertc, tmp_path: Path, cached: tuple[object, ...]) -> None:
    model = write_tiny_bert(tmp_path / "model", positions=64)
    called = bertc("quantize", model, "-o", tmp_path / "q.onnx", *MODE_2, *cached)
    assert (called.code, "there is no calibration text" in called.err) == (2, True)


def test_the_table_of_buffers_can_be_saved_and_read(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_foreign(tmp_path / "model"))
    table = own_table(checkpoint, tiny_scheme("3"), RangeMethod())
    assert table is not None
    (tmp_path / "table.json").write_text(text_from_table(table), encoding="utf-8")
    assert text_from_table(table_from_path(tmp_path / "table.json")) == text_from_table(table)
    probs = Site(0, Role.PROBS)
    assert table.amax(probs, RangeMethod(), smoothed=False) == trained(probs)
