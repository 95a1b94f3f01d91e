"""The projection of a narrow student's hidden states: where it begins, that it learns, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from bertc.train.network import Network
from bertc.train.widened import Widened
from tests.tiny import TinyModel

NAMES = ("layer.1.hidden", "encoder.output")


def feeds_of(model: TinyModel) -> dict[str, torch.Tensor]:
    names = [str(value.name) for value in model.graph.graph.inputs]
    return {name: torch.from_numpy(array) for name, array in model.batch.feeds(names).items()}


def test_it_begins_with_every_channel_in_its_place(tiny_classifier: TinyModel) -> None:
    network, feeds = Network(tiny_classifier.graph), feeds_of(tiny_classifier)
    channels = tuple(range(1, 128, 2))
    wide = Widened(network, NAMES, channels, 128)
    with torch.no_grad():
        plain, found = (module(feeds, (*NAMES, "layer.1.scores")) for module in (network, wide))
    for name in NAMES:
        assert found[name].shape[-1] == 128
        assert torch.equal(found[name][..., channels], plain[name]) and not found[name][..., ::2].any()
    assert torch.equal(found["logits"], plain["logits"]) and torch.equal(
        found["layer.1.scores"], plain["layer.1.scores"]
    )


def test_it_learns_with_the_network_and_is_no_part_of_it(tiny_classifier: TinyModel) -> None:
    network, feeds = Network(tiny_classifier.graph), feeds_of(tiny_classifier)
    wide = Widened(network, NAMES, range(64), 96)
    loss = sum(((wide(feeds, NAMES)[name] - 1) ** 2).mean() for name in NAMES)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert wide.projection.grad is not None and wide.projection.grad[64:].abs().max() > 0
    first = network.initializer_parameters()["embeddings.word"].grad
    assert first is not None and first.abs().max() > 0
    assert "projection" in wide.state_dict() and not any("projection" in name for name in network.state_dict())


def test_channels_that_are_not_the_networks_are_noticed(tiny_classifier: TinyModel) -> None:
    wide = Widened(Network(tiny_classifier.graph), NAMES, range(63), 96)
    with pytest.raises(RuntimeError, match="shape"):
        wide(feeds_of(tiny_classifier), NAMES)
