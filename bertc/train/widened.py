"""A narrow student whose hidden states are compared with a wider teacher's, by a projection that it learns.

TinyBERT's W_h (Jiao et al. 2020, arXiv:1909.10351, eq. 8): one matrix for all layers, no part of the student.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from bertc.train.network import Network

Tensor = torch.Tensor


class Widened(torch.nn.Module):
    """A network whose values of some names come out as wide as a teacher's. Mutates as any module does."""

    def __init__(self, network: Network, names: Collection[str], channels: Sequence[int], width: int) -> None:
        """Take the network, the names of the values, and which of the teacher's `width` channels it has.

        The projection begins as these channels in their places, and zeros in the others.
        """
        super().__init__()
        self.network = network
        self._names = frozenset(names)
        start = torch.zeros(width, len(channels))
        start[list(channels), range(len(channels))] = 1.0
        self.projection = torch.nn.Parameter(start)

    def initializer_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the network's weights by the names of the graph, without the projection."""
        return self.network.initializer_parameters()

    def forward(self, feeds: dict[str, Tensor], wanted: Sequence[str] = ()) -> dict[str, Tensor]:
        """Return what the network returns, those values [..., channels] as [..., width]."""
        values: dict[str, Tensor] = self.network(feeds, wanted)
        return {
            name: torch.nn.functional.linear(value, self.projection) if name in self._names else value
            for name, value in values.items()
        }
