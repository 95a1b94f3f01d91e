"""Who reads quantized values in each mode, and what the weights become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.smoothing import CONSUMERS
from bertc.errors import InputError
from bertc.ir.affine import scale_from_amax
from bertc.ir.edit import values_by_name
from bertc.ir.emit import array_of
from bertc.ir.scheme import Scheme
from bertc.ir.sites import GEMM_INPUTS, GEMM_OUTPUTS, RESIDUALS, Role, Site
from bertc.quantize.insert import Quantized, quantize_graph
from tests.tiny import LAYERS, TinyModel, calibrated, quantized, random_features, tiny_model, tiny_scheme

SUMS = {Role.HIDDEN: "attention_sum", Role.ATTENTION_NORM: "output_sum"}
QKV = ("query", "key", "value")


def readers(found: Quantized, name: str) -> set[str]:
    """Return the names of the values computed from a value."""
    return {str(use.node.outputs[0].name) for use in values_by_name(found.graph)[name].uses()}


def residual_of(found: Quantized, layer: int, role: Role) -> str:
    """Return the name of what the residual addition reads beside the GEMM."""
    node = values_by_name(found.graph)[f"layer.{layer}.{SUMS[role]}"].producer()
    assert node is not None and node.inputs[1] is not None
    return str(node.inputs[1].name)


@pytest.mark.parametrize("scheme", [tiny_scheme("1"), tiny_scheme("1", smoothing=0)], ids=["smoothed", "plain"])
def test_in_mode_one_only_the_gemms_read_int8(scheme: Scheme, tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, scheme)
    for layer in range(LAYERS):
        for role in GEMM_INPUTS:
            gemms = {Site(layer, gemm).name for gemm in CONSUMERS[role]}
            assert readers(found, f"layer.{layer}.{role}.dequantized") == gemms
        for role in RESIDUALS:
            plain = f"layer.{layer}.{role}" + (".plain" if scheme.smoothing else "")
            assert residual_of(found, layer, role) == plain


def test_in_mode_two_the_residual_reads_the_gemm_s_codes(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2"))
    for layer in range(LAYERS):
        for role in RESIDUALS:
            gemms = {Site(layer, gemm).name for gemm in CONSUMERS[role]}
            dequantized = f"layer.{layer}.{role}.dequantized"
            assert readers(found, dequantized) == gemms | {f"layer.{layer}.{SUMS[role]}"}
            assert readers(found, f"layer.{layer}.{role}") == {f"layer.{layer}.{role}.codes"}


def test_a_smoothed_residual_reads_the_same_codes_with_a_vector_scale(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2", "channel"))
    values = values_by_name(found.graph)
    for role in RESIDUALS:
        site = Site(0, role)
        assert residual_of(found, 0, role) == f"{site.name}.residual"
        node = values[f"{site.name}.residual"].producer()
        assert node is not None and node.inputs[0] is values[f"{site.name}.codes"]
        expected = found.scales[site] * tiny_classifier.table.smoothing[site]
        np.testing.assert_array_equal(array_of(node.inputs[1]), expected)


def test_a_residual_kept_in_float_stays_float(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2", "channel", keep_float=("layer.0.hidden",)))
    assert residual_of(found, 0, Role.HIDDEN) == "layer.0.hidden"
    assert residual_of(found, 1, Role.HIDDEN) == "layer.1.hidden.residual"


def test_a_gemm_output_is_quantized_before_its_bias(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2"))
    for role in GEMM_OUTPUTS:
        assert readers(found, f"layer.1.{role}") == {f"layer.1.{role}.codes"}
        (reader,) = readers(found, f"layer.1.{role}.dequantized")
        node = values_by_name(found.graph)[reader].producer()
        assert node is not None and node.op_type == "Add"
        bias = node.inputs[1]
        assert bias is not None and bias.name == f"layer.1.{role}.bias"


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel"), ("3", None)])
def test_zero_points_are_zero_and_weight_codes_symmetric(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    found = quantized(tiny_classifier, tiny_scheme(mode, granularity))
    for node in found.graph.graph:
        if node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and len(node.inputs) > 2):
            assert not np.any(array_of(node.inputs[2])) and array_of(node.inputs[2]).dtype == np.int8
    for layer in range(LAYERS):
        for group in (GEMM_OUTPUTS[:3], *((role,) for role in GEMM_OUTPUTS[3:])):  # the first may be tied
            names = [f"layer.{layer}.{role}.weight" for role in group]
            codes = np.concatenate([array_of(found.graph.graph.initializers[name]) for name in names])
            assert codes.dtype == np.int8 and codes.min() >= -127 and np.abs(codes).max() == 127


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel"), ("3", "channel")])
def test_scales_are_per_column_or_per_tensor_and_tied_only_there(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    scheme = tiny_scheme(mode, granularity)
    found = quantized(tiny_classifier, scheme)
    initializers = found.graph.graph.initializers
    for role in GEMM_OUTPUTS:
        width = 128 if role is Role.INTERMEDIATE_GEMM else 64
        shape = (width,) if scheme.per_channel else ()
        assert array_of(initializers[f"layer.0.{role}.weight_scale"]).shape == shape
        if role in scheme.mode.roles:
            assert found.scales[Site(0, role)].shape == shape
    for role in (*GEMM_INPUTS, Role.QUERY, Role.PROBS):
        assert found.scales[Site(0, role)].shape == ()
    weights = [array_of(initializers[f"layer.0.{part}_gemm.weight_scale"]) for part in QKV]
    operands = [found.scales[Site(0, role)] for role in (Role.QUERY, Role.KEY, Role.VALUE)]
    for group in (weights, operands):
        same = [np.array_equal(group[0], other) for other in group[1:]]
        assert same == [scheme.tie_qkv] * 2


def test_tied_scales_are_the_largest_of_the_three(tiny_classifier: TinyModel) -> None:
    table = tiny_classifier.table
    found = quantized(tiny_classifier, tiny_scheme("2"), calibrator="max")
    for group in ((Role.QUERY, Role.KEY, Role.VALUE), GEMM_OUTPUTS[:3]):
        largest = max(table.sites[Site(1, role)].amax for role in group)
        for role in group:
            assert found.scales[Site(1, role)] == scale_from_amax(largest)
    weights = [array_of(tiny_classifier.graph.graph.initializers[f"layer.1.{part}_gemm.weight"]) for part in QKV]
    tied = array_of(found.graph.graph.initializers["layer.1.key_gemm.weight_scale"])
    assert tied == scale_from_amax(max(np.abs(weight).max() for weight in weights))


def test_column_scales_are_the_columns_largest_values(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2", "channel"))
    amax = tiny_classifier.table.sites[Site(0, Role.OUTPUT_GEMM)].channel_amax
    assert amax is not None
    np.testing.assert_array_equal(found.scales[Site(0, Role.OUTPUT_GEMM)], scale_from_amax(amax))


def test_an_override_sets_the_scale_of_its_site_alone(tiny_classifier: TinyModel) -> None:
    site = Site(0, Role.ACTIVATION)
    fixed = replace(tiny_classifier, table=replace(tiny_classifier.table, overrides={site: 12.7}))
    before, after = (quantized(model, tiny_scheme("1")).scales for model in (tiny_classifier, fixed))
    assert after[site] == scale_from_amax(12.7)
    assert {each for each in before if not np.array_equal(before[each], after[each])} == {site}


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel"), ("3", None)])
def test_the_argument_is_not_modified(mode: str, granularity: str | None, tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    before = ir.to_proto(model.graph).SerializeToString()
    first = quantized(model, tiny_scheme(mode, granularity))
    assert ir.to_proto(model.graph).SerializeToString() == before
    quantized(model, tiny_scheme("2", "channel", keep_float=("layer.0",)))
    again = quantized(model, tiny_scheme(mode, granularity))
    assert ir.to_proto(again.graph).SerializeToString() == ir.to_proto(first.graph).SerializeToString()


def test_scores_without_probs_are_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match=r"layer\.0\.scores cannot be INT8 while layer\.0\.probs stays in float"):
        quantized(tiny_classifier, tiny_scheme("3", keep_float=("probs",)))
    assert "scores" not in quantized(tiny_classifier, tiny_scheme("3", keep_float=("probs", "scores"))).counts


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel")])
@pytest.mark.parametrize(
    "options, site",
    [
        ({"layers": 3}, "layer.2."),
        ({"hidden": 32}, "layer.0."),
        ({"intermediate": 64}, "layer.0.intermediate_gemm"),
    ],
    ids=["deeper", "narrower", "smaller inside"],
)
def test_a_table_of_another_model_is_refused_by_a_site_s_name(
    mode: str,
    granularity: str | None,
    options: dict[str, int],
    site: str,
    tiny_classifier: TinyModel,
    tmp_path: Path,
) -> None:
    other = tiny_model(tmp_path, **options)
    with pytest.raises(InputError, match=site.replace(".", r"\.")):
        quantized(replace(tiny_classifier, table=other.table), tiny_scheme(mode, granularity))


def test_a_table_of_a_shallower_model_is_refused_by_the_missing_site(
    tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path, layers=1)
    with pytest.raises(InputError, match=r"no site layer\.1\."):
        quantized(replace(tiny_classifier, table=other.table), tiny_scheme("2"))


def test_an_unknown_calibrator_is_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match="'minmax' does not exist"):
        quantized(tiny_classifier, tiny_scheme("1"), calibrator="minmax")


def test_the_calibrator_and_the_percentile_reach_the_scales(tiny_classifier: TinyModel) -> None:
    graph, table, scheme = tiny_classifier.graph, tiny_classifier.table, tiny_scheme("1")
    site = Site(1, Role.ACTIVATION)
    wide = quantize_graph(graph, table, scheme, RangeMethod(calibrator="max", percentile=99.99)).scales[site]
    near, nearer = (
        quantize_graph(graph, table, scheme, RangeMethod(percentile=share)).scales[site] for share in (99.9, 95.0)
    )
    assert nearer < near < wide


def test_the_same_table_gives_the_same_graph_and_other_text_another(tiny_classifier: TinyModel) -> None:
    scheme = tiny_scheme("2", "channel")
    once, again = (ir.to_proto(quantized(tiny_classifier, scheme).graph).SerializeToString() for _ in range(2))
    other = replace(tiny_classifier, table=calibrated(tiny_classifier.graph, random_features(6, seed=8)))
    assert once == again != ir.to_proto(quantized(other, scheme).graph).SerializeToString()
