"""What a plan's kernels compute, found in a float or Q/DQ graph by its nodes and who reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.emit import array_of
from bertc.ir.one_sided import zero_point_of
from bertc.runtime.plan.kernel_plan import Activation

Array = NDArray[np.float32]
STORED_ZERO = 128
"""What is added to a signed code and its zero point where codes are stored."""


def alone(value: ir.Value) -> bool:
    """Say whether one node reads a value, and nobody else; a SiLU is one."""
    readers = [use.node for use in value.uses()]
    others = [node for node in readers if node.op_type != "Sigmoid" or _silu_of(node) not in readers]
    return len(others) == 1 and not value.is_graph_output()


def _silu_of(sigmoid: ir.Node) -> ir.Node | None:
    """Return the product of a sigmoid and what the sigmoid is of; None where it stands for itself."""
    readers = [use.node for use in sigmoid.outputs[0].uses()]
    alike = [node for node in readers if node.op_type == "Mul" and sigmoid.inputs[0] in node.inputs]
    return alike[0] if len(alike) == len(readers) == 1 else None


def produced(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """Return the node behind a value if it is of that type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def operands(node: ir.Node) -> list[ir.Value]:
    """Return what a node reads and is computed."""
    return [value for value in node.inputs if value is not None and value.const_value is None]


def constant_beside(node: ir.Node) -> tuple[ir.Value, Any] | None:
    """Read a node of two inputs, one of which is constant: the other, and the array."""
    computed = operands(node)
    if len(node.inputs) != 2 or len(computed) != 1:
        return None
    (constant,) = [value for value in node.inputs if value is not computed[0]]
    return computed[0], array_of(constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Numbers to stored codes: rint(x * inverse) + zero; inverse is [] or [columns]."""

    inverse: NDArray[np.float64]
    zero: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantize:
    """Stored codes to numbers: (code - zero) * scale; scale is [] or [columns]."""

    codes: ir.Value
    scale: NDArray[np.float64]
    zero: int


def quantize_of(node: ir.Node) -> tuple[ir.Value, Quantize]:
    """Read a QuantizeLinear, and a multiplication by a constant before it: what is quantized, and how."""
    source = node.inputs[0]
    assert source is not None
    inverse = 1 / np.asarray(array_of(node.inputs[1]), np.float64)
    product = produced(source, "Mul")
    if product is not None and alone(source):
        found = constant_beside(product)
        if found is not None:
            source, inverse = found[0], inverse * found[1]
    return source, Quantize(inverse=inverse, zero=_stored_zero(node))


def dequantize_of(value: ir.Value) -> Dequantize | None:
    """Read a DequantizeLinear of activations."""
    node = produced(value, "DequantizeLinear")
    if node is None or node.inputs[0] is None or node.inputs[0].const_value is not None:
        return None
    scale = np.asarray(array_of(node.inputs[1]), np.float64)
    return Dequantize(codes=node.inputs[0], scale=scale, zero=_stored_zero(node))


def _stored_zero(node: ir.Node) -> int:
    return zero_point_of(node) + STORED_ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights [k, n]: int8 codes with a scale, [] or [n], or float32 with None."""

    values: NDArray[Any]
    scale: NDArray[np.float64] | None = None

    def floats(self) -> Array:
        """Return the numbers."""
        if self.scale is None:
            return np.asarray(self.values, np.float32)
        return np.asarray(self.values.astype(np.float32) * self.scale.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A product, or a value as it is, and what follows it: everything that one step computes.

    source: the product's left operand, or the value. `factor` and `bias` are constants, [] or [n]; `requant` are the
    scales of a Q and of the DQ behind it. The residual is added, or multiplied by if the chain is `gated`. `half` is
    which of the two halves of a product's columns the chain is; all that belongs to columns is the half's own.
    """

    source: ir.Value
    weights: Weights | None = None
    factor: Array | None = None
    requant: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    bias: Array | None = None
    activation: Activation = Activation.NONE
    residual: ir.Value | None = None
    gated: bool = False
    half: int | None = None


def chain_of(value: ir.Value) -> Chain:
    """Read the chain that ends with a value; where nothing is recognised, `source` is the value itself."""
    chain = Chain(source=value)
    for peel in (_residual, _gate, _activation, _half, _bias, _factor, _requant, _product):
        if chain.source is not value and not alone(chain.source):
            break
        node = chain.source.producer()
        if node is not None:
            chain = peel(chain, node)
    return chain if chain.half is None else _half_of_columns(chain, value)


def _residual(chain: Chain, node: ir.Node) -> Chain:
    """Take an addition of two computed values apart: what is a product, or at least scaled, is the step's own."""
    if node.op_type != "Add" or len(operands(node)) != 2:
        return chain
    left, right = operands(node)
    own = max((left, right), key=_rank)
    return replace(chain, source=own, residual=right if own is left else left)


def _rank(value: ir.Value) -> tuple[bool, bool]:
    if not alone(value):  # nor is it looked into: sums of sums of all layers stand behind a norm that comes first
        return False, False
    chain = chain_of(value)
    return chain.weights is not None, chain.factor is not None


def _gate(chain: Chain, node: ir.Node) -> Chain:
    """Take the product of two halves apart: the one behind an activation is the step's own."""
    if node.op_type != "Mul" or len(operands(node)) != 2 or activation_of(node) is not None:
        return chain
    for own, gate in (operands(node), operands(node)[::-1]):
        producer = own.producer()
        if producer is not None and activation_of(producer) is not None and alone(own):
            return replace(chain, source=own, residual=gate, gated=True)
    return chain


def _activation(chain: Chain, node: ir.Node) -> Chain:
    found = activation_of(node)
    return chain if found is None else replace(chain, source=found[0], activation=found[1])


def activation_of(node: ir.Node) -> tuple[ir.Value, Activation] | None:
    """Read an activation: what it is of, and which."""
    source = node.inputs[0]
    if node.op_type == "Mul":
        sigmoid = next((each for each in map(_sigmoid, node.inputs) if each is not None), None)
        if sigmoid is None or _silu_of(sigmoid) is not node or sigmoid.inputs[0] is None:
            return None
        return sigmoid.inputs[0], Activation.SILU
    found = ACTIVATIONS.get(node.op_type)
    return None if found is None or source is None else (source, found(node))


def _sigmoid(value: ir.Value | None) -> ir.Node | None:
    return produced(value, "Sigmoid")


def _gelu(node: ir.Node) -> Activation:
    attribute = node.attributes.get("approximate")
    tanh = attribute is not None and attribute.as_string() == "tanh"
    return Activation.GELU_TANH if tanh else Activation.GELU


ACTIVATIONS: Mapping[str, Callable[[ir.Node], Activation]] = {
    "Gelu": _gelu,
    "Relu": lambda node: Activation.RELU,
    "Sigmoid": lambda node: Activation.SIGMOID,
    "Tanh": lambda node: Activation.TANH,
}


def _half(chain: Chain, node: ir.Node) -> Chain:
    """Take a half of a product's columns, where the other one is its gate."""
    if node.op_type != "Split" or len(node.outputs) != 2 or not alone(node.outputs[1]):
        return chain
    (use,) = node.outputs[1].uses()
    if use.node.op_type != "Mul" or len(operands(use.node)) != 2 or node.inputs[0] is None:
        return chain
    return replace(chain, source=node.inputs[0], half=node.outputs.index(chain.source))


def _half_of_columns(chain: Chain, value: ir.Value) -> Chain:
    """Let what was read of all columns be the half's, if there is a product to take it from."""
    weights, requant = chain.weights, chain.requant
    if weights is None or chain.half is None:
        return Chain(source=value)
    width = weights.values.shape[1] // 2
    columns = slice(chain.half * width, chain.half * width + width)

    def own(vector: NDArray[Any]) -> NDArray[Any]:
        return vector[columns] if vector.ndim else vector

    return replace(
        chain,
        weights=Weights(values=weights.values[:, columns], scale=None if weights.scale is None else own(weights.scale)),
        factor=None if chain.factor is None else own(chain.factor),
        requant=None if requant is None else (own(requant[0]), own(requant[1])),
        bias=None if chain.bias is None else own(chain.bias),
    )


def _bias(chain: Chain, node: ir.Node) -> Chain:
    found = constant_beside(node) if node.op_type == "Add" else None
    return chain if found is None else replace(chain, source=found[0], bias=found[1])


def _factor(chain: Chain, node: ir.Node) -> Chain:
    found = constant_beside(node) if node.op_type == "Mul" else None
    return chain if found is None else replace(chain, source=found[0], factor=found[1])


def _requant(chain: Chain, node: ir.Node) -> Chain:
    """Take the Q/DQ pair behind a product. Codes that others read, or that have a zero point, are a step's result."""
    dequantize = dequantize_of(node.outputs[0])
    quantize = None if dequantize is None else produced(dequantize.codes, "QuantizeLinear")
    if dequantize is None or quantize is None or not alone(dequantize.codes):
        return chain
    product = quantize.inputs[0]
    zeros = {dequantize.zero, _stored_zero(quantize)}
    if produced(product, "MatMul") is None or zeros != {STORED_ZERO} or chain.factor is not None:
        return chain
    assert product is not None
    return replace(
        chain, source=product, requant=(np.asarray(array_of(quantize.inputs[1]), np.float64), dequantize.scale)
    )


def _product(chain: Chain, node: ir.Node) -> Chain:
    left, *rest = node.inputs
    weights = weights_of(rest[0]) if node.op_type == "MatMul" else None
    if weights is None:
        return chain
    assert left is not None
    return replace(chain, source=left, weights=weights)


def weights_of(value: ir.Value | None) -> Weights | None:
    """Read constant weights [k, n], dequantized or float; None for anything else."""
    if value is None:
        return None
    if value.const_value is not None:
        return Weights(values=array_of(value))
    node = produced(value, "DequantizeLinear")
    if node is None or node.inputs[0] is None or node.inputs[0].const_value is None:
        return None
    return Weights(values=array_of(node.inputs[0]), scale=np.asarray(array_of(node.inputs[1]), np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An embedding table [rows, n]: float32, or int8 codes with a scale per row."""

    values: NDArray[Any]
    scale: Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The sum of the embeddings; `types` is [types, n], None as `position` where a model has none."""

    word: Table
    position: Table | None = None
    first_position: int = 0
    types: Array | None = None


def embedding_of(value: ir.Value) -> Embedding | None:
    """Read the sum of a word's and (where the model has those) a position's and a type's row."""
    found: dict[str, Any] = {}
    for leaf in _summands(value):
        if leaf.const_value is not None:
            found["types"] = np.asarray(array_of(leaf), np.float32)
            continue
        looked_up = _looked_up(leaf)
        if looked_up is None:
            return None
        node, table = looked_up
        by = None if node.inputs[1] is None else node.inputs[1].name
        if node.op_type == "Slice":
            found |= {"position": table, "first_position": int(array_of(node.inputs[1])[0])}
        elif table.scale is None and by == "token_type_ids":
            found["types"] = table.values
        elif by == "input_ids":
            found["word"] = table
        else:
            return None
    return Embedding(**found) if "word" in found else None


def _summands(value: ir.Value) -> Iterator[ir.Value]:
    node = produced(value, "Add")
    if node is None:
        yield value
        return
    for operand in node.inputs:
        assert operand is not None
        yield from _summands(operand)


def _looked_up(value: ir.Value) -> tuple[ir.Node, Table] | None:
    """Read a lookup by ids, or the slice of positions from which rows are gathered: the node, and the table."""
    gather = produced(value, "Gather")
    if gather is not None and gather.inputs[0] is not None and gather.inputs[0].const_value is None:
        return _looked_up(gather.inputs[0])
    product = produced(value, "Mul")
    cast = None if product is None else produced(product.inputs[0], "Cast")
    if product is None or cast is None:
        lookup = _lookup(value)
        return None if lookup is None else (lookup, Table(values=array_of(lookup.inputs[0]), scale=None))
    codes, scales = (_lookup(operand) for operand in (cast.inputs[0], product.inputs[1]))
    if codes is None or scales is None:
        return None
    scale = np.asarray(array_of(scales.inputs[0]), np.float32).reshape(-1)
    return codes, Table(values=array_of(codes.inputs[0]), scale=scale)


def _lookup(value: ir.Value | None) -> ir.Node | None:
    node = produced(value, "Gather") or produced(value, "Slice")
    return node if node is not None and node.inputs[0] is not None and node.inputs[0].const_value is not None else None
