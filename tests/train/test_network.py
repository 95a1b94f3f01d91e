"""A graph as a torch module: its parameters, gradients and refusals."""

from __future__ import annotations

import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch

from bertc.errors import InputError
from bertc.graph.encoder import parameters_from_checkpoint
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.train.network import Network
from tests.tiny import TinyModel, quantized, tiny_scheme
from tests.train.runs import scale_parameters


def feeds_of(model: TinyModel) -> dict[str, torch.Tensor]:
    names = [str(value.name) for value in model.graph.graph.inputs]
    return {name: torch.from_numpy(array) for name, array in model.batch.feeds(names).items()}


def test_every_weight_of_the_checkpoint_is_a_parameter_with_a_gradient(tiny_classifier: TinyModel) -> None:
    network = Network(tiny_classifier.graph)
    parameters = network.initializer_parameters()
    assert parameters.keys() == parameters_from_checkpoint(tiny_classifier.checkpoint).keys()
    assert len(list(network.parameters())) == len(parameters) and not scale_parameters(network)
    network(feeds_of(tiny_classifier))["logits"].square().sum().backward()
    without = [name for name, each in parameters.items() if each.grad is None or not each.grad.abs().max() > 0]
    # A constant added to all of a query's scores changes no softmax, so a key's bias has no gradient but noise.
    assert not [name for name in without if not name.endswith("key_gemm.bias")]


def test_the_gradient_is_that_of_finite_differences(tiny_classifier: TinyModel) -> None:
    network = Network(tiny_classifier.graph)
    feeds = feeds_of(tiny_classifier)
    bias = network.initializer_parameters()["layer.1.output_gemm.bias"]

    def loss() -> torch.Tensor:
        return network(feeds)["logits"].square().sum()

    loss().backward()
    assert bias.grad is not None
    before, step = bias.detach().clone(), 1e-2
    values = []
    for sign in (1, -1):
        bias.data = before + sign * step * torch.nn.functional.one_hot(torch.tensor(5), 64)
        values.append(float(loss().detach()))
    assert float(bias.grad[5]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2)


def test_learned_scales_are_one_parameter_where_they_are_tied(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("2")).graph
    floats = {str(v.name): array_of(v) for v in tiny_classifier.graph.graph.initializers.values()}
    ties = [[f"layer.0.{role}.scale" for role in ("query", "key", "value")]]
    network = Network(graph, floats=floats, learned_scales=True, ties=ties)
    assert len(scale_parameters(network)) == len(network.scale_names()) - 2
    network(feeds_of(tiny_classifier))["logits"].sum().backward()
    gradients = [parameter.grad for parameter in scale_parameters(network)]
    assert all(gradient is not None and gradient != 0 for gradient in gradients)
    with torch.no_grad():
        network.get_parameter("_log_scales.layer/0/query/scale").sub_(50)
    assert 0 < float(network.scale("layer.0.key.scale").detach()) < 1e-15
    assert float(network.scale("layer.1.key.scale").detach()) > 1e-4


def test_a_copy_is_independent_and_a_state_comes_back(tiny_classifier: TinyModel) -> None:
    network = Network(tiny_classifier.graph)
    other = copy.deepcopy(network)
    feeds = feeds_of(tiny_classifier)
    with torch.no_grad():
        before = network(feeds)["logits"]
        for parameter in other.parameters():
            parameter *= 1.1
        assert torch.equal(network(feeds)["logits"], before)
        assert not torch.equal(other(feeds)["logits"], before)
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(feeds)["logits"], before)


def test_bfloat16_is_near_and_its_quantized_forward_pass_nearer(tiny_classifier: TinyModel) -> None:
    feeds = feeds_of(tiny_classifier)
    graph = quantized(tiny_classifier, tiny_scheme("2")).graph
    floats = {str(v.name): array_of(v) for v in tiny_classifier.graph.graph.initializers.values()}
    for network in (Network(tiny_classifier.graph), Network(graph, floats=floats)):
        exact = network(feeds)["logits"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(feeds)["logits"]
        assert found.dtype is torch.float32 and 0 < float((found - exact).detach().abs().max()) < 0.1
        found.sum().backward()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_text_without_any_token_gives_finite_values(tiny_classifier: TinyModel) -> None:
    feeds = feeds_of(tiny_classifier)
    feeds["attention_mask"] = torch.zeros_like(feeds["attention_mask"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Network(tiny_classifier.graph)(feeds)["logits"].isfinite().all()


def test_an_unknown_operator_is_refused_by_name(tiny_classifier: TinyModel) -> None:
    model = tiny_classifier.graph.clone()
    node = next(node for node in model.graph if node.op_type == "Gelu")
    node.op_type = "Celu"
    with pytest.raises(InputError, match=r"layer\.0\.gelu is the operator onnx::Celu"):
        Network(model)


def test_codes_without_their_float_weights_are_refused(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("2")).graph
    with pytest.raises(InputError, match=r"layer\.0\.query_gemm\.weight as int8"):
        Network(graph)
    assert isinstance(graph, ir.Model)


def test_the_float_network_is_the_interpreter(tiny_classifier: TinyModel) -> None:
    with torch.no_grad():
        found = Network(tiny_classifier.graph)(feeds_of(tiny_classifier))["logits"].numpy()
    np.testing.assert_allclose(
        found, Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"], atol=1e-5
    )
