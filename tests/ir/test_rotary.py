"""Rotary positions: the node's meaning, its tables, and who refuses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.errors import InputError
from bertc.export.ort import lower_cuda
from bertc.export.tensorrt import lower as tensorrt
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.architecture import Rotary
from bertc.ir.emit import DOMAIN, IR_VERSION, OPSET, Emitter
from bertc.ir.rotary import OP_TYPE, RotaryInputs, is_rotary, rotary_function, rotary_inputs, rotary_tables
from bertc.ir.standard import standard_from_graph
from tests.tiny_families import write_tiny_family

HEADS, SIZE, POSITIONS = 2, 6, 9


def model() -> ir.Model:
    """A graph of one rotary node."""
    emit = Emitter()
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=("batch", "length", HEADS * SIZE))
    positions = ir.val("positions", dtype=ir.DataType.INT64, shape=("batch", "length"))
    cos, sin = (emit.constant(name, array) for name, array in zip(("cos", "sin"), tables(), strict=True))
    inputs = RotaryInputs(x=x, positions=positions, cos=cos, sin=sin)
    turned = emit.op(OP_TYPE, *inputs.values(), name="turned", domain=DOMAIN, split=[0, 0, HEADS, SIZE])
    turned.dtype, turned.shape = x.dtype, x.shape
    graph = ir.Graph(
        [x, positions],
        [turned],
        nodes=emit.nodes,
        initializers=emit.initializers,
        opset_imports={"": OPSET, DOMAIN: 1},
        name="rotary",
    )
    return ir.Model(graph, ir_version=IR_VERSION, functions=[rotary_function()])


def tables() -> tuple[np.ndarray, np.ndarray]:
    return rotary_tables(Rotary(100.0), POSITIONS, SIZE)


def run(graph: ir.Model, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    session = ort.InferenceSession(ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x, "positions": positions})
    return np.asarray(found)


@pytest.mark.parametrize("expanded", [False, True])
def test_channels_are_turned_in_pairs_by_their_position_s_angle(expanded: bool) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 3, HEADS * SIZE)).astype(np.float32)
    positions = np.array([[0, 1, 2], [0, 0, 8]])
    halves = x.reshape(2, 3, HEADS, 2, SIZE // 2)
    pairs = halves[..., 0, :] + 1j * halves[..., 1, :]
    angles = positions[..., None] * 100.0 ** (-np.arange(0, SIZE, 2) / SIZE)
    turned = pairs * np.exp(1j * angles)[:, :, None]
    expected = np.stack([turned.real, turned.imag], axis=3).reshape(x.shape)
    graph = standard_from_graph(model()) if expanded else model()
    assert any(is_rotary(node) for node in graph.graph) != expanded
    np.testing.assert_allclose(run(graph, x, positions), expected, atol=1e-6)


def test_a_product_of_two_tokens_depends_on_their_distance_alone() -> None:
    generator = np.random.default_rng(0)
    token = np.repeat(generator.normal(size=(1, 1, HEADS * SIZE)).astype(np.float32), 4, axis=1)
    turned = run(model(), token, np.array([[1, 3, 5, 6]]))[0]
    assert turned[0] @ turned[1] == pytest.approx(turned[1] @ turned[2], rel=1e-5)
    assert turned[0] @ turned[1] != pytest.approx(turned[2] @ turned[3], rel=1e-2)


def test_a_node_is_read_back() -> None:
    (node,) = model().graph
    assert [value.name for value in rotary_inputs(node).values()] == ["x", "positions", "cos", "sin"]
    assert not is_rotary(None)


def test_a_runtime_without_rotary_positions_refuses_them(tmp_path: Path) -> None:
    graph = graph_from_checkpoint(checkpoint_from_path(write_tiny_family(tmp_path, "modernbert")))
    for lower, name in (
        (tensorrt.lower_graph, "TensorRT"),
        (lower_cuda.lower_graph, "ONNX Runtime's CUDA provider"),
    ):
        with pytest.raises(InputError, match=f"rotary positions, which bertc does not write for {name}; build it with"):
            lower(graph)
