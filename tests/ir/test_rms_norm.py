"""RMSNorm: the node's meaning, as our function and in standard operators, and who refuses it."""

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
from bertc.ir.emit import DOMAIN, IR_VERSION, OPSET, Emitter
from bertc.ir.rms_norm import OP_TYPE, epsilon_of, is_norm, is_rms_norm, rms_norm_function
from bertc.ir.standard import standard_from_graph
from tests.tiny_families import write_tiny_family

WIDTH, EPSILON = 6, 1e-2
GAMMA = np.linspace(-1, 2, WIDTH, dtype=np.float32)


def model() -> ir.Model:
    """A graph of one node."""
    emit = Emitter()
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=("batch", "length", WIDTH))
    normed = emit.op(OP_TYPE, x, emit.constant("gamma", GAMMA), name="normed", domain=DOMAIN, epsilon=EPSILON)
    normed.dtype, normed.shape = x.dtype, x.shape
    opsets = {"": OPSET, DOMAIN: 1}
    graph = ir.Graph(
        [x], [normed], nodes=emit.nodes, initializers=emit.initializers, opset_imports=opsets, name="rms_norm"
    )
    return ir.Model(graph, ir_version=IR_VERSION, functions=[rms_norm_function()])


@pytest.mark.parametrize("expanded", [False, True])
def test_a_row_is_divided_by_the_root_of_its_mean_square(expanded: bool) -> None:
    import onnxruntime as ort

    x = np.random.default_rng(0).normal(1, 1, size=(2, 3, WIDTH)).astype(np.float32)
    x[0, 0] = 0
    graph = standard_from_graph(model()) if expanded else model()
    assert any(is_rms_norm(node) for node in graph.graph) != expanded
    session = ort.InferenceSession(ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * GAMMA, atol=1e-6)


def test_a_node_is_read_back() -> None:
    (node,) = model().graph
    assert is_norm(node) and epsilon_of(node) == np.float32(EPSILON)
    assert not is_rms_norm(None) and not is_norm(None)


def test_a_runtime_without_rms_norm_refuses_it(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path, "t5", task="feature-extraction"))
    graph = graph_from_checkpoint(checkpoint)
    for lower, name in (
        (tensorrt.lower_graph, "TensorRT"),
        (lower_cuda.lower_graph, "ONNX Runtime's CUDA provider"),
    ):
        with pytest.raises(InputError, match=f"RMSNorm, which bertc does not write for {name}; build it with"):
            lower(graph)
