"""EuroBERT and nomic-bert: a gate of SiLU is one step's activation, in every mode."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import values_by_name
from bertc.runtime.plan.kernel_plan import Activation, Op, Type
from bertc.runtime.plan.patterns import activation_of, alone
from tests.runtime.plan.test_compile import BATCHES, FEATURES, SCHEMES, check_same, compiled, int8_graph, scheme
from tests.tiny import TinyModel, calibrated
from tests.tiny_families import write_tiny_family


@pytest.mark.parametrize("chosen", [None, *SCHEMES])
@pytest.mark.parametrize("family", ["eurobert", "nomic-bert"])
def test_a_gate_of_silu_in_every_mode(family: str, chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", family))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    whole = graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, graph, batch)
    plan, _ = compiled(whole)
    gated = [step for step in plan.steps if step.gated]
    assert len(gated) == 2 and all(step.activation is Activation.SILU for step in gated)
    assert not any(step.op is Op.FINISH for step in plan.steps if step.name.startswith("layer."))
    norms = [step for step in plan.steps if step.op is Op.NORM]
    assert {step.flag for step in norms} == {int(family == "eurobert")}
    if chosen is not None:
        assert all(step.op is Op.GEMM_INT8 and plan.buffers[step.out].type is Type.U8 for step in gated)


def test_a_silu_without_a_gate(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", "bert", hidden_act="silu"))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    for whole in (graph, int8_graph(model, scheme("1")), int8_graph(model, scheme("3", "channel"))):
        check_same(whole, graph, BATCHES["packed"])
        steps = [step for step in compiled(whole)[0].steps if step.activation is Activation.SILU]
        assert len(steps) == 2 and not any(step.gated for step in steps)


def test_a_sigmoid_that_others_read_is_no_part_of_a_silu() -> None:
    """Nor is one that multiplies something else."""
    x, other = ir.val("x"), ir.val("other")
    sigmoid = ir.node("Sigmoid", [x])
    product = ir.node("Mul", [x, sigmoid.outputs[0]])
    assert activation_of(product) == (x, Activation.SILU) and alone(x)
    ir.node("Add", [sigmoid.outputs[0], other])
    assert activation_of(product) is None and not alone(x)
    elsewhere = ir.node("Mul", [other, ir.node("Sigmoid", [x]).outputs[0]])
    assert activation_of(elsewhere) is None
    assert activation_of(ir.node("Mul", [x, other])) is None


def test_a_sigmoid_elsewhere_is_refused_by_its_node(tmp_path: Path) -> None:
    graph = graph_from_checkpoint(checkpoint_from_path(write_tiny_family(tmp_path / "model", "nomic-bert")))
    node = values_by_name(graph)["layer.0.activated_sigmoid"].producer()
    assert node is not None
    node.op_type = "HardSigmoid"
    with pytest.raises(
        InputError, match=r"layer\.0\.\w+: no kernel of a plan computes .* here; use the target ort-cpu"
    ):
        compiled(graph)
