"""Verification: codes of every scheme and the lowered file are 2:4, and a zero that was lost is found."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.core.progress import Silent
from bertc.errors import EXIT_INTERNAL
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.prune.layers import Pruned, prune_graph
from bertc.prune.verify import BrokenPatternError, stored_weight, verify_pattern
from bertc.quantize.insert import quantize_graph
from bertc.targets import target_from_name
from tests.tiny import TinyModel, calibrated, engine_scheme, tiny_scheme


@pytest.fixture(scope="module")
def pruned(tiny_classifier: TinyModel) -> Pruned:
    return prune_graph(tiny_classifier.graph, criterion="magnitude", grams=None, progress=Silent())


def quantized(model: TinyModel, pruned: Pruned, mode: str, granularity: str) -> ir.Model:
    scheme = engine_scheme(tiny_scheme(mode, granularity))
    table = calibrated(pruned.graph, model.features)
    return quantize_graph(pruned.graph, table, scheme, RangeMethod()).graph


@pytest.mark.parametrize("mode, granularity", [("1", "channel"), ("2", "tensor"), ("2", "channel"), ("3", "channel")])
def test_codes_and_the_lowered_file_are_2_4(
    tiny_classifier: TinyModel, pruned: Pruned, mode: str, granularity: str
) -> None:
    graph = quantized(tiny_classifier, pruned, mode, granularity)
    assert verify_pattern(graph, pruned.masks) == 12
    codes = stored_weight(graph, "layer.0.query_gemm.weight")
    assert codes is not None and codes.dtype == np.int8
    assert verify_pattern(target_from_name("ort-cpu").onnx_from_graph(graph), pruned.masks) == 12


@pytest.mark.parametrize("target", ["float", "ort-cpu-dynamic"])
def test_targets_without_a_scheme_keep_the_zeros_too(pruned: Pruned, target: str) -> None:
    assert verify_pattern(target_from_name(target).onnx_from_graph(pruned.graph), pruned.masks) == 12


def test_a_dense_graph_is_found(tiny_classifier: TinyModel, pruned: Pruned) -> None:
    with pytest.raises(BrokenPatternError, match=r"layer.0.query_gemm.weight .* not 2:4") as caught:
        verify_pattern(tiny_classifier.graph, pruned.masks)
    assert caught.value.exit_code == EXIT_INTERNAL


def test_a_single_code_too_many_is_found(tiny_classifier: TinyModel, pruned: Pruned) -> None:
    graph = quantized(tiny_classifier, pruned, "2", "channel")
    value = graph.graph.initializers["layer.1.output_gemm.weight"]
    codes = array_of(value).copy()
    codes[:4, 0] = 1
    set_constant(value, codes)
    with pytest.raises(BrokenPatternError, match=r"layer\.1\.output_gemm"):
        verify_pattern(graph, pruned.masks)


def test_what_is_not_stored_is_not_counted(pruned: Pruned) -> None:
    model = pruned.graph.clone()
    assert verify_pattern(model, ["layer.9.query_gemm.weight"]) == 0
    assert verify_pattern(model, []) == 0
