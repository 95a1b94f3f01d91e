"""Smoothing changes no answer, only ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.table import table_from_path, text_from_table
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import GEMM_INPUTS, Role, Site
from bertc.quantize.smooth import UNSMOOTHED, smooth_graph
from tests.conftest import TinyOf
from tests.tiny import LAYERS, Array, TinyModel, run_values, tiny_model, tiny_scheme

MODES = [("1", None), ("2", "channel"), ("3", "channel")]


def difference(model: TinyModel, graph: ir.Model) -> float:
    """Return the largest change of any output on real tokens."""
    batch = model.batch
    before, after = (Interpreter(each).run(batch) for each in (model.graph, graph))
    mask = batch.mask.astype(bool)
    changes = []
    for name, values in before.items():
        change = np.abs(after[name] - values)
        changes.append(change[mask].max() if values.ndim > 1 and values.shape[:2] == mask.shape else change.max())
    return float(max(changes))


@pytest.mark.parametrize("mode, granularity", MODES)
@pytest.mark.parametrize("task", ["sequence-classification", "question-answering"])
def test_the_smoothed_graph_computes_the_same(mode: str, granularity: str | None, task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    assert difference(model, smooth_graph(model.graph, model.table, tiny_scheme(mode, granularity))) < 1e-4


@pytest.mark.parametrize("mode, granularity", MODES)
def test_a_head_that_mixes_hidden_states_reads_what_they_were(
    mode: str, granularity: str | None, tmp_path: Path
) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task="feature-extraction", head=head)
    smooth = smooth_graph(model.graph, model.table, tiny_scheme(mode, granularity))
    assert difference(model, smooth) < 1e-4


@pytest.mark.parametrize("mode, granularity", MODES)
@pytest.mark.parametrize("role", GEMM_INPUTS)
def test_an_unbalanced_factor_would_be_seen(
    mode: str, granularity: str | None, role: Role, tiny_classifier: TinyModel
) -> None:
    """The negative twin: a weight scaled by other factors than its input changes the answer."""
    smooth = smooth_graph(tiny_classifier.graph, tiny_classifier.table, tiny_scheme(mode, granularity))
    gemm = {
        Role.HIDDEN: "value",
        Role.CONTEXT: "attention",
        Role.ATTENTION_NORM: "intermediate",
        Role.ACTIVATION: "output",
    }
    weight = smooth.graph.initializers[f"layer.0.{gemm[role]}_gemm.weight"]
    set_constant(weight, array_of(weight) / tiny_classifier.table.smoothing[Site(0, role)][:, None])
    assert difference(tiny_classifier, smooth) > 1e-3


@pytest.mark.parametrize("mode, granularity", MODES)
def test_the_site_s_name_means_the_divided_value(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    smooth = smooth_graph(tiny_classifier.graph, tiny_classifier.table, tiny_scheme(mode, granularity))
    names = [Site(1, role).name for role in (*GEMM_INPUTS, Role.VALUE)]
    plain = run_values(tiny_classifier.graph, tiny_classifier.batch, names)
    divided = run_values(smooth, tiny_classifier.batch, names)
    carriers = (*GEMM_INPUTS, Role.CONTEXT)
    for role, before, after in zip(carriers, plain, divided, strict=True):
        factors = tiny_classifier.table.smoothing[Site(1, role)]
        np.testing.assert_allclose(after, before / factors, atol=2e-4)
        assert np.abs(after - before).max() > 0.01


def test_no_smoothing_is_a_plain_copy(tiny_classifier: TinyModel) -> None:
    for scheme in (tiny_scheme("2"), tiny_scheme("1", smoothing=0)):
        copy = smooth_graph(tiny_classifier.graph, tiny_classifier.table, scheme)
        assert copy is not tiny_classifier.graph
        assert difference(tiny_classifier, copy) == 0
        assert len(list(copy.graph)) == len(list(tiny_classifier.graph.graph))


def test_context_folds_into_the_value_projection_without_a_node(tiny_classifier: TinyModel) -> None:
    table = tiny_classifier.table
    smooth = smooth_graph(tiny_classifier.graph, table, tiny_scheme("1", keep_float=("hidden", "gelu")))
    for layer in range(LAYERS):
        factors = table.smoothing[Site(layer, Role.CONTEXT)]
        for part in ("weight", "bias"):
            name = f"layer.{layer}.value_gemm.{part}"
            before, after = (array_of(g.graph.initializers[name]) for g in (tiny_classifier.graph, smooth))
            np.testing.assert_allclose(after, before / factors, rtol=1e-6)
    assert f"layer.0.context{UNSMOOTHED}" not in values_by_name(smooth)
    added = len(list(smooth.graph)) - len(list(tiny_classifier.graph.graph))
    assert added == LAYERS  # the division of attention_norm, and none for context


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_sites_kept_in_float_are_not_smoothed(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    scheme = tiny_scheme(mode, granularity, keep_float=("layer.0",))
    smooth = smooth_graph(tiny_classifier.graph, tiny_classifier.table, scheme)
    same = {}
    for gemm in ("query", "value", "attention", "intermediate", "output"):
        for layer in range(LAYERS):
            name = f"layer.{layer}.{gemm}_gemm.weight"
            before, after = (array_of(g.graph.initializers[name]) for g in (tiny_classifier.graph, smooth))
            same[layer, gemm] = np.array_equal(before, after)
    assert all(equal is (layer == 0) for (layer, _), equal in same.items())
    assert difference(tiny_classifier, smooth) < 1e-4


def test_mode_two_folds_into_the_norm_and_mode_one_divides(tiny_classifier: TinyModel) -> None:
    name = Site(0, Role.HIDDEN).name
    gamma = f"{name}.gamma"

    def norm_of(scheme: Scheme) -> Array:
        smooth = smooth_graph(tiny_classifier.graph, tiny_classifier.table, scheme)
        found: Array = array_of(smooth.graph.initializers[gamma])
        return found

    before = array_of(tiny_classifier.graph.graph.initializers[gamma])
    np.testing.assert_array_equal(norm_of(tiny_scheme("1")), before)
    factors = tiny_classifier.table.smoothing[Site(0, Role.HIDDEN)]
    np.testing.assert_allclose(norm_of(tiny_scheme("2", "channel")), before / factors, rtol=1e-6)


@pytest.mark.parametrize("mode, granularity", MODES)
def test_a_table_gives_the_same_bytes_when_it_was_written_and_read(
    mode: str, granularity: str | None, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path = tmp_path / "table.json"
    path.write_text(text_from_table(tiny_classifier.table), encoding="utf-8")
    tables = tiny_classifier.table, table_from_path(path)
    assert list(tables[0].smoothing) != list(tables[1].smoothing), "the file has the sites in another order"
    first, second = (
        ir.to_proto(smooth_graph(tiny_classifier.graph, table, tiny_scheme(mode, granularity))) for table in tables
    )
    assert first.SerializeToString() == second.SerializeToString()


def test_another_exponent_than_the_table_s_is_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match=r"exponent 0\.9, the build asks for 0\.5"):
        smooth_graph(tiny_classifier.graph, tiny_classifier.table, tiny_scheme("1", smoothing=0.5))
    with pytest.raises(InputError, match="exponent None"):
        smooth_graph(tiny_classifier.graph, replace(tiny_classifier.table, exponent=None), tiny_scheme("1"))
