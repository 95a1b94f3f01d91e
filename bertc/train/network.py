"""A graph of the compiler as a torch module: the same nodes, trainable, with Q/DQ pairs as fake quantization.

The node list is read once into a program of (function, inputs, outputs); a forward pass walks it. What the graph knows
beforehand (shapes, axes, scaling) is a Python value in it, what is a vector is a buffer, weights are parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.ir.emit import array_of
from bertc.ir.standard import standard_from_graph
from bertc.train.fake_quantize import Coded, quantize_weights, scale_of_weights
from bertc.train.program import Step, program_from_graph

Tensor = torch.Tensor
PARAMETERS = (".weight", ".bias", ".gamma", ".beta", ".word", ".position", ".token_type")
"""How the initializers that hold weights end (bertc/graph/encoder.py); every other one is a constant."""


class Network(torch.nn.Module):
    """A float or Q/DQ graph that can be trained. Mutates as any module does.

    A weight that the graph holds as INT8 codes is a float parameter whose codes and scale follow from its values in
    every forward pass by the rule of `quantize_graph`.
    """

    def __init__(
        self,
        graph: ir.Model,
        *,
        weights: Collection[str] | None = None,
        floats: Mapping[str, NDArray[np.float32]] | None = None,
        learned_scales: bool = False,
        ties: Sequence[Sequence[str]] = (),
        stored: Collection[str] = (),
    ) -> None:
        """Read a graph.

        `weights` are the initializers that the checkpoint has, None for all that are named like one: the others, biases
        of zeros that stand for none, stay as they are. `floats` gives the float values of weights that the graph holds
        as codes, and replaces those of others. `learned_scales` makes the scalar activation scales parameters. `ties`
        are groups of initializers with one common scale: weights, or scales themselves. `stored` names values that are
        looked up in a table which the engine stores in INT8. Raises `InputError` for an operator that is not on the
        list, and for codes without float values.
        """
        super().__init__()
        model = standard_from_graph(graph)
        self.outputs = tuple(str(value.name) for value in model.graph.outputs)
        self.inputs = tuple(str(value.name) for value in model.graph.inputs)
        self._weights = torch.nn.ParameterDict()
        self._log_scales = torch.nn.ParameterDict()
        self._known = weights
        self._first = {name: group[0] for group in ties for name in group}
        self._masked: set[str] = set()
        self._scales: list[str] = []
        self._vectors: list[str] = []
        self._constants: dict[str, Any] = {}
        self._read_initializers(model, dict(floats or {}), _activation_scales(model), learned_scales)
        program = program_from_graph(model, [*self.initializer_parameters(), *self._scales, *self._vectors], stored)
        self._steps, self._quantized = program.steps, program.quantized
        self._constants |= program.constants
        for name, factors in program.factors.items():
            self._vectors.append(name)
            self._buffer(name, factors)
        self._plain = _plain_values(self._steps, self._vectors)

    def _read_initializers(
        self, model: ir.Model, floats: dict[str, NDArray[np.float32]], scales: set[str], learned: bool
    ) -> None:
        """Sort the initializers into parameters, scales, vectors and Python values."""
        for value in model.graph.initializers.values():
            name, array = str(value.name), array_of(value)
            if name.endswith(PARAMETERS) and (self._known is None or name in self._known):
                if array.dtype != np.float32 and name not in floats:
                    raise InputError(
                        f"the graph holds {name} as {array.dtype} codes; training starts from the float weights, so "
                        "give them as well"
                    )
                self._weights[_key(name)] = torch.nn.Parameter(_tensor(floats.get(name, array)))
            elif name in scales:
                self._scales.append(name)
                self._buffer(name, array)
                if learned and array.ndim == 0 and self._leader(name) not in self._log_scales:
                    self._log_scales[self._leader(name)] = torch.nn.Parameter(torch.zeros(()))
            elif array.dtype == np.float32 and array.ndim:
                self._vectors.append(name)
                self._buffer(name, array)
            elif array.dtype != np.int8:
                self._constants[name] = array.tolist()

    def _leader(self, name: str) -> str:
        """Return the key of the parameter behind a scale: that of the first of those it is tied to."""
        return _key(self._first.get(name, name))

    def _buffer(self, name: str, array: NDArray[np.float32]) -> None:
        self.register_buffer(_key(name), _tensor(array), persistent=False)

    def forward(self, feeds: dict[str, Tensor], wanted: Sequence[str] = ()) -> dict[str, Tensor]:
        """Return the graph's outputs by name, and the values of the sites (or other values) named in `wanted`.

        feeds: the graph's inputs, int64 [batch, length]. A wanted site's value is float, before its quantization and
        with its smoothing undone, so that it can be compared with the same site of a float network.
        """
        sources = {name: self._plain.get(name, (name, None)) for name in wanted}
        kept = {source for source, _ in sources.values()}
        values: dict[str, Any] = {name: feeds[name] for name in self.inputs}
        values |= self._constants
        values |= self._effective_weights()
        values |= {name: self._buffers[_key(name)] for name in self._vectors}
        values |= {name: self.scale(name) for name in self._scales}
        for step in self._steps:
            result = step.function(*[values[name] for name in step.inputs], **step.attributes)
            if len(step.outputs) == 1:
                values[step.outputs[0]] = result
            else:
                values.update(zip(step.outputs, result, strict=True))
            for name in step.dead:
                if name not in kept:
                    del values[name]
        found = {name: values[name] for name in self.outputs}
        for name, (source, factors) in sources.items():
            if source not in values:
                raise InputError(f"the network has no value {name}; name a site such as layer.0.hidden")
            found[name] = values[source] if factors is None else values[source] * values[factors]
        return found

    def _effective_weights(self) -> dict[str, Tensor | Coded]:
        """Return every weight as the nodes read it: masked, then rounded to its codes."""
        weights = {name: self.masked_weight(name) for name in self.initializer_parameters()}
        read: dict[str, Tensor | Coded] = dict(weights)
        scales: dict[str, Tensor] = {}
        for name, per_channel in self._quantized.items():
            scale, first = scale_of_weights(weights[name], per_channel=per_channel), self._first.get(name, name)
            scales[first] = torch.maximum(scales[first], scale) if first in scales else scale
        for name in self._quantized:
            weight, scale = weights[name], scales[self._first.get(name, name)]
            read[name] = quantize_weights(weight, scale, coded=True)
        return read

    def masked_weight(self, name: str) -> Tensor:
        """Return a parameter times its mask, if it has one."""
        weight: Tensor = self._weights[_key(name)]
        if name not in self._masked:
            return weight
        mask = self._buffers[_key(f"{name}.mask")]
        assert mask is not None
        return weight * mask

    def scale(self, name: str) -> Tensor:
        """Return an activation scale, [] or [columns]; a learned one carries its gradient.

        A learned scale is s exp(t) with t = 0 at the start: it stays positive, and starts as exactly the table's.
        """
        start = self._buffers[_key(name)]
        assert start is not None
        leader = self._leader(name)
        return start * self._log_scales[leader].exp() if leader in self._log_scales and not start.ndim else start

    def initializer_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the weights by the names of the graph's initializers (learned scales are not among them)."""
        return {_name(key): parameter for key, parameter in self._weights.items()}

    def scale_names(self) -> tuple[str, ...]:
        """Return the names of the activation scales: `layer.3.gelu.scale`."""
        return tuple(self._scales)

    def set_masks(self, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Multiply weights by masks from now on, by initializer name, [in, out], so that their zeros stay.

        Raises `InputError` for a name or a shape that is not the network's.
        """
        parameters = self.initializer_parameters()
        for name, mask in masks.items():
            if name not in parameters:
                raise InputError(f"a mask is for {name}, which the network does not have; name an initializer")
            if mask.shape != tuple(parameters[name].shape):
                raise InputError(
                    f"the mask of {name} has the shape {list(mask.shape)}, the weight {list(parameters[name].shape)}"
                )
            self._buffer(f"{name}.mask", mask.astype(np.float32))
            self._masked.add(name)
            parameters[name].data *= torch.from_numpy(mask).to(parameters[name].device)


def _key(name: str) -> str:
    """Return a name as torch can register it, which has no dots."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))  # a copy: the graph's arrays are read-only


def _activation_scales(model: ir.Model) -> set[str]:
    return {str(node.inputs[1].name) for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[1]}


def _plain_values(steps: Sequence[Step], vectors: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return where a smoothed site's plain value is: another value, or its own times a vector."""
    names = {name for step in steps for name in step.outputs}
    plain: dict[str, tuple[str, str | None]] = {}
    for name in names:
        if f"{name}.plain" in names:
            plain[name] = (f"{name}.plain", None)
        elif f"{name}.residual.factors" in vectors:
            plain[name] = (name, f"{name}.residual.factors")
        elif f"{name}.unsmoothed" in names:
            plain[name] = (f"{name}.unsmoothed", None)
    return plain
