"""What is added to a graph in standard operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bertc.ir.standard import standard_from_graph, write_zero_points
from tests.tiny import TinyModel, quantized, tiny_scheme


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel"), ("2", "tensor")])
def test_every_weight_has_a_zero_point_of_its_own(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    graph = standard_from_graph(quantized(tiny_classifier, tiny_scheme(mode, granularity)).graph)
    before = weights_of(graph)
    assert before and all(len(node.inputs) == 2 for node in before), "nothing writes them before"
    written = [node.inputs[2] for node in weights_of(write_zero_points(graph))]
    assert len({id(value) for value in written}) == len(before)
    for node, value in zip(weights_of(graph), written, strict=True):
        scale = node.inputs[1]
        assert value is not None and value.const_value is not None and scale is not None and scale.shape is not None
        zeros = value.const_value.numpy()
        assert zeros.dtype == np.int8 and zeros.shape == scale.shape.numpy() and not zeros.any()


def test_activations_and_float_graphs_are_left_as_they_are(tiny_classifier: TinyModel) -> None:
    plain = standard_from_graph(tiny_classifier.graph)
    names = [node.name for node in write_zero_points(plain).graph]
    assert names == [node.name for node in standard_from_graph(tiny_classifier.graph).graph]
    codes = standard_from_graph(quantized(tiny_classifier, tiny_scheme("1")).graph)
    activations = [n for n in codes.graph if n.op_type == "DequantizeLinear" and n not in weights_of(codes)]
    before = [tuple(node.inputs) for node in activations]
    write_zero_points(codes)
    assert before and [tuple(node.inputs) for node in activations] == before


def weights_of(graph: ir.Model) -> list[ir.Node]:
    """Return the nodes that dequantize constants."""
    found = [node for node in graph.graph if node.op_type == "DequantizeLinear"]
    return [node for node in found if node.inputs[0] is not None and node.inputs[0].const_value is not None]
