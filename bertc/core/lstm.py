"""A long short-term memory between an encoder and its tags, as a value. How it computes is in `bertc.evaluate.lstm`."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.core.array_value import Packed
from bertc.core.crf import Over
from bertc.core.keys import Key, key_of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One direction of one layer, of `width` h: the gates i, f, g, o (torch.nn.LSTM's order) of all its units.

    `inputs` [4h, in] are the weights of what comes in, `states` [4h, h] those of the state before, `bias` [4h] the sum
    of both biases. Raises `ValueError` for sizes that do not fit.
    """

    inputs: Packed
    states: Packed
    bias: Packed

    def __post_init__(self) -> None:
        rows, width = self.states.shape
        if rows != 4 * width or len(self.inputs.shape) != 2 or {self.inputs.shape[0], *self.bias.shape} != {rows}:
            raise ValueError(f"an LSTM of shapes {self.inputs.shape}, {self.states.shape} and {self.bias.shape}")

    @property
    def width(self) -> int:
        """The number of units."""
        return self.states.shape[1]

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lstm:
    """Layers, each with one direction or with a forward and a backward one, and the linear layer behind them.

    A layer reads the outputs of all directions of the one before, side by side. `weight` [tags, directions x width] and
    `bias` [tags] give the tags' scores. `over` are the tokens that make up the sequence. Raises `ValueError` for sizes
    that do not fit.
    """

    layers: tuple[tuple[Direction, ...], ...]
    weight: Packed
    bias: Packed
    over: Over = Over.TOKENS

    def __post_init__(self) -> None:
        read = [layer[0].inputs.shape[1] for layer in self.layers]
        given = [sum(direction.width for direction in layer) for layer in self.layers]
        alike = all(
            each.inputs.shape[1] == wide for layer, wide in zip(self.layers, read, strict=True) for each in layer
        )
        if not alike or [*read[1:], self.weight.shape[1]] != given or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"layers of an LSTM that read {read} and give {given}")

    @property
    def inputs(self) -> int:
        """The width of what it reads."""
        return self.layers[0][0].inputs.shape[1]

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)
