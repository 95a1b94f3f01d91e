"""Any intermediate graph is valid ONNX, and a plain runtime executes it as the simulator does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bertc.ir.emit import DOMAIN
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Role, Site
from bertc.ir.standard import standard_from_graph
from bertc.quantize.smooth import smooth_graph
from tests.conftest import TinyOf
from tests.tiny import Array, TinyModel, quantized, tiny_scheme

TASKS = ("sequence-classification", "token-classification", "question-answering", "feature-extraction")
VARIANTS = {
    "Attention": None,
    "AttentionProbs": "1",
    "AttentionScores": "3",
    "AttentionProbsUnsigned": "1",
    "AttentionScoresUnsigned": "3",
}
"""The attention function in the file, and the mode that gives it."""


def graph_of(model: TinyModel, mode: str | None, *, one_sided: bool = False) -> ir.Model:
    return model.graph if mode is None else quantized(model, replace(tiny_scheme(mode), one_sided=one_sided)).graph


def attention_nodes(graph: ir.Model) -> set[str]:
    return {node.op_type for node in graph.graph if node.domain == DOMAIN}


def run_plainly(graph: ir.Model, model: TinyModel) -> list[Array]:
    """Run the file as it is, functions included, without optimization."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(ir.to_proto(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = model.batch.feeds([value.name for value in session.get_inputs()])
    found: list[Array] = session.run(None, feeds)
    return found


@pytest.mark.parametrize("op_type, mode", VARIANTS.items())
@pytest.mark.parametrize("task", TASKS)
def test_functions_in_the_file_mean_what_the_expanded_graph_means(
    op_type: str, mode: str | None, task: str, tiny_of: TinyOf
) -> None:
    model = tiny_of(task)
    graph = graph_of(model, mode, one_sided=op_type.endswith("Unsigned"))
    assert attention_nodes(graph) == {op_type}
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    onnx.checker.check_model(ir.to_proto(standard_from_graph(graph)), full_check=True)
    plain = run_plainly(graph, model)
    expanded = list(Interpreter(graph).run(model.batch).values())
    for mine, other in zip(plain, expanded, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_a_file_without_its_functions_does_not_open(tiny_classifier: TinyModel) -> None:
    """The negative twin: it is the file's own function that runs, not an operator the runtime knows."""
    graph = tiny_classifier.graph.clone()
    graph.functions.clear()
    with pytest.raises(Exception, match="bertc"):
        run_plainly(graph, tiny_classifier)


@pytest.mark.parametrize("role", [Role.PROBS, Role.SCORES])
def test_the_scales_of_the_functions_are_used(role: Role, tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("3")).graph
    before = run_plainly(graph, tiny_classifier)[0]
    scale = graph.graph.initializers[f"{Site(0, role).name}.scale"]
    scale.const_value = ir.tensor(np.float32(0.3) * scale.const_value.numpy(), name=scale.name)
    assert np.abs(run_plainly(graph, tiny_classifier)[0] - before).max() > 1e-3


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel"), ("3", "channel")])
def test_smoothed_and_quantized_graphs_pass_the_checker(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    scheme = tiny_scheme(mode, granularity)
    smooth = smooth_graph(tiny_classifier.graph, tiny_classifier.table, scheme)
    for graph in (smooth, quantized(tiny_classifier, scheme).graph):
        onnx.checker.check_model(ir.to_proto(graph), full_check=True)


def test_sites_have_their_names_in_every_form(tiny_classifier: TinyModel) -> None:
    inner = {Role.SCORES, Role.PROBS}
    for graph, roles in (
        (tiny_classifier.graph, set(Role) - inner),
        (standard_from_graph(tiny_classifier.graph), set(Role)),
    ):
        names = {value.name for node in graph.graph for value in node.outputs}
        assert {Site(layer, role).name for layer in range(2) for role in roles} <= names


def test_the_expanded_graph_has_standard_operators_only_and_the_original_is_untouched(
    tiny_classifier: TinyModel,
) -> None:
    before = ir.to_proto(tiny_classifier.graph).SerializeToString()
    expanded = standard_from_graph(tiny_classifier.graph)
    assert {node.domain for node in expanded.graph} == {""} and not expanded.functions
    assert ir.to_proto(tiny_classifier.graph).SerializeToString() == before
    assert attention_nodes(tiny_classifier.graph) == {"Attention"}


def test_observed_sites_are_the_values_of_the_layers(tiny_classifier: TinyModel) -> None:
    interpreter = Interpreter(tiny_classifier.graph, observe_sites=True)
    assert interpreter.sites == [Site(layer, role) for layer in range(2) for role in Role]
    batch = tiny_classifier.batch
    found = dict(interpreter.run_sites(batch, interpreter.sites))
    rows, length = batch.input_ids.shape
    assert found[Site(0, Role.SCORES)].shape == (rows, 2, length, length)
    assert found[Site(1, Role.ACTIVATION)].shape == (rows, length, 128)
    np.testing.assert_allclose(found[Site(0, Role.PROBS)].sum(axis=-1), 1, atol=1e-5)
    assert not Interpreter(tiny_classifier.graph).sites
