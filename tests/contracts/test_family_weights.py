"""What changes weights without changing answers obeys every family: smoothing, split and reordered channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site
from bertc.prune.permute import head_size_of_graph, permute_channels
from bertc.quantize.smooth import smooth_graph
from bertc.quantize.split import split_graph, split_table, splits_from_table
from tests.contracts.test_family_graphs import FamilyOf, each_family, family_of, logits
from tests.tiny import TinyModel, calibrated, tiny_scheme

__all__ = ["family_of"]


def difference(model: TinyModel, graph: ir.Model) -> float:
    before, after = (logits(each, model.batch) for each in (model.graph, graph))
    return float(np.abs(after - before).max())


@each_family
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_smoothing_changes_no_answer(mode: str, granularity: str | None, family: str, family_of: FamilyOf) -> None:
    model = family_of(family)
    smooth = smooth_graph(model.graph, model.table, tiny_scheme(mode, granularity))
    assert difference(model, smooth) < 1e-4
    name = f"{Site(0, Role.QUERY_GEMM)}.weight"
    set_constant(smooth.graph.initializers[name], array_of(model.graph.graph.initializers[name]))
    assert difference(model, smooth) > 1e-3


def test_a_norm_that_only_gemms_read_carries_the_factors_in_every_mode(family_of: FamilyOf) -> None:
    model = family_of("modernbert")
    values = values_by_name(smooth_graph(model.graph, model.table, tiny_scheme("1")))
    assert "layer.0.hidden.plain" in values  # the norm of the embeddings is the residual as well
    assert not {"layer.1.hidden.plain", "layer.0.attention_norm.plain"} & set(values)
    model = family_of("t5")  # whose residual begins before that norm
    values = values_by_name(smooth_graph(model.graph, model.table, tiny_scheme("1")))
    assert not [name for name in values if name.endswith(("norm.plain", "hidden.plain"))]


@each_family
def test_split_channels_change_no_answer(family: str, family_of: FamilyOf) -> None:
    model = family_of(family)
    scheme = replace(tiny_scheme("1"), one_sided=True, split_outliers=True)
    splits = splits_from_table(model.graph, model.table, scheme)
    graph = split_graph(model.graph, splits)
    assert splits and difference(model, graph) < 1e-4
    expected, found = calibrated(graph, model.features), split_table(model.table, splits)
    for site in splits:
        for each in (site, Site(site.layer, Role.INTERMEDIATE_GEMM)):
            wanted, given = expected.sites[each].channel_amax, found.sites[each].channel_amax
            assert wanted is not None and given is not None
            np.testing.assert_allclose(given, wanted, rtol=1e-3, atol=1e-4)


@each_family
@pytest.mark.parametrize("role", [Role.OUTPUT_GEMM, Role.ATTENTION_GEMM])
def test_reordered_channels_change_no_answer(role: Role, family: str, family_of: FamilyOf) -> None:
    model = family_of(family)
    graph = model.graph.clone()
    inputs = graph.graph.initializers[f"{Site(1, role)}.weight"].shape
    assert inputs is not None
    size = int(inputs[0]) if role is Role.OUTPUT_GEMM else head_size_of_graph(graph, 1)
    order = np.arange(int(inputs[0])).reshape(-1, size)[:, ::-1].ravel()
    permute_channels(graph, Site(1, role), order)
    assert difference(model, graph) < 1e-4
    name = f"{Site(1, role)}.weight"
    set_constant(graph.graph.initializers[name], array_of(model.graph.graph.initializers[name]))
    assert difference(model, graph) > 1e-3
