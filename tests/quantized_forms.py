"""Small ONNX graphs with a quantized matrix product, in the forms in which tools write them and in others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

WIDTH, CHANNELS = 16, 8
MICROSOFT = "com.microsoft"
DIMENSIONS = {"b": 2, "s": 4, "t": 5}
Shape = Sequence[int | str]

RANK3: Shape = ("b", "s", WIDTH)
RANK2: Shape = ("b", WIDTH)
FIXED: Shape = (2, 4, WIDTH)


@dataclass
class Graph:
    """A graph as it is written, with one input `x`; it mutates."""

    shape: Shape = RANK3
    inputs: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)
    x: ir.Value = field(init=False)

    def __post_init__(self) -> None:
        self.x = self.input("x", self.shape)

    def input(self, name: str, shape: Shape) -> ir.Value:
        """Add a float input."""
        value = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(list(shape)))
        self.inputs.append(value)
        return value

    def op(self, kind: str, *inputs: ir.Value, domain: str = "", **attributes: Any) -> ir.Value:
        """Write a node with one output."""
        node = ir.node(kind, list(inputs), attributes=attributes, domain=domain)
        node.name = f"{kind}_{len(self.nodes)}"
        node.outputs[0].name = f"{kind}_{len(self.nodes)}_out"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: Any) -> ir.Value:
        """Add a constant."""
        name = f"c{len(self.constants)}"
        value = ir.val(name, const_value=ir.tensor(np.asarray(array), name=name))
        self.constants.append(value)
        return value

    def quantized(self, value: ir.Value, kind: Any = np.uint8, *, scale: Any = 0.05, **attributes: Any) -> ir.Value:
        """Write QuantizeLinear and DequantizeLinear; scale: a number, or a vector with the attribute `axis`."""
        steps = self.constant(np.asarray(scale, np.float32))
        zero = self.constant(np.full(np.shape(scale), 128 if kind is np.uint8 else 0, kind))
        codes = self.op("QuantizeLinear", value, steps, zero, **attributes)
        return self.op("DequantizeLinear", codes, steps, zero, **attributes)

    def weight(
        self,
        kind: Any = np.int8,
        *,
        shape: tuple[int, ...] = (WIDTH, CHANNELS),
        axis: int | None = None,
        block: int = 0,
    ) -> ir.Value:
        """Write a weight's DequantizeLinear: one scale, one per index of an axis, or one per block of rows."""
        rng = np.random.default_rng(len(self.constants))
        codes = rng.integers(-100, 100, shape) if np.dtype(kind).kind == "i" else rng.integers(0, 200, shape)
        sizes = (shape[0] // block, shape[1]) if block else () if axis is None else (shape[axis],)
        scale = rng.uniform(0.001, 0.02, sizes).astype(np.float32)
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        attributes |= {"axis": 0, "block_size": block} if block else {}
        operands = (self.constant(codes.astype(kind)), self.constant(scale), self.constant(np.zeros(sizes, kind)))
        return self.op("DequantizeLinear", *operands, **attributes)

    def model(self, *results: ir.Value, opset: int = 21) -> ir.Model:
        """Return the model whose outputs these are."""
        outputs = [self.op("Identity", result) for result in results]
        for output in outputs:
            output.dtype = ir.DataType.FLOAT
        return self._model(outputs, opset)

    def model_with_output(self, extra: ir.Value, result: ir.Value) -> ir.Model:
        """Return the model with a value of its middle as an output besides."""
        (output,) = [self.op("Identity", result)]
        output.dtype = extra.dtype = ir.DataType.FLOAT
        return self._model([output, extra], 21)

    def _model(self, outputs: Sequence[ir.Value], opset: int) -> ir.Model:
        graph = ir.Graph(
            self.inputs,
            outputs,
            nodes=self.nodes,
            initializers=self.constants,
            opset_imports={"": opset, MICROSOFT: 1},
            name="form",
        )
        return ir.Model(graph, ir_version=10, producer_name="forms")


def product(
    shape: Shape = RANK3,
    *,
    codes: Any = np.uint8,
    domain: str = "",
    weight: Mapping[str, Any] | None = None,
    bias: bool = False,
    out: Any = None,
    opset: int = 21,
) -> ir.Model:
    """MatMul with Q/DQ in front; `bias` adds a float one, `out` is the type of the output's codes, None for float."""
    graph = Graph(shape)
    result = graph.op("MatMul", graph.quantized(graph.x, codes, domain=domain), graph.weight(**(weight or {})))
    if bias:
        result = graph.op("Add", result, graph.constant(np.ones(CHANNELS, np.float32)))
    return graph.model(result if out is None else graph.quantized(result, out, domain=domain), opset=opset)


def gemm(
    *,
    codes: Any = np.uint8,
    weight: Mapping[str, Any] | None = None,
    bias: str = "none",
    behind: str = "",
    out: Any = None,
    **attributes: Any,
) -> ir.Model:
    """Gemm with Q/DQ in front and an operator `behind` it.

    `bias` is none, float, computed, int8, int32, or int32 with another scale ("other").
    """
    graph = Graph(RANK2)
    operands = [graph.quantized(graph.x, codes), graph.weight(**(weight or {}))]
    node = operands[1].producer()
    assert node is not None and node.inputs[1] is not None and node.inputs[1].const_value is not None
    step = np.float32(0.05) * node.inputs[1].const_value.numpy()
    if bias == "float":
        operands.append(graph.constant(np.ones(CHANNELS, np.float32)))
    elif bias == "computed":
        operands.append(graph.input("z", (CHANNELS,)))
    elif bias != "none":
        scale = np.float32(0.007) if bias == "other" else np.float32(0.01) if bias == "int8" else step
        kind = np.int8 if bias == "int8" else np.int32
        stored = graph.constant(np.full(CHANNELS, 100, kind))
        operands.append(graph.op("DequantizeLinear", stored, graph.constant(scale), axis=0))
    result = graph.op("Gemm", *operands, **attributes)
    result = graph.op(behind, result) if behind else result
    return graph.model(result if out is None else graph.quantized(result, out))


def shared(codes: Any, *, own_dequantize: bool = False, own_quantize: bool = False) -> ir.Model:
    """Query, key and value: three products that read the same activations, over one DequantizeLinear or their own."""
    graph = Graph()
    steps, zero = graph.constant(np.float32(0.05)), graph.constant(codes(128 if codes is np.uint8 else 0))
    once = graph.op("QuantizeLinear", graph.x, steps, zero)
    read = graph.op("DequantizeLinear", once, steps, zero)
    found = []
    for _ in range(3):
        if own_quantize:
            once = graph.op("QuantizeLinear", graph.x, steps, zero)
        if own_dequantize or own_quantize:
            read = graph.op("DequantizeLinear", once, steps, zero)
        found.append(graph.quantized(graph.op("MatMul", read, graph.weight()), codes))
    return graph.model(graph.op("Sum", *found))


def residual(codes: Any) -> ir.Model:
    """A product whose activations are added to its result."""
    graph = Graph()
    read = graph.quantized(graph.x, codes)
    result = graph.quantized(graph.op("MatMul", read, graph.weight(shape=(WIDTH, WIDTH))), codes)
    return graph.model(graph.op("Add", result, read))


def scores(
    first: Any,
    second: Any,
    *,
    quantized: str = "both",
    transposed: bool = False,
    shared_right: bool = False,
    out: Any = None,
    opset: int = 21,
) -> ir.Model:
    """A product of two activations, as attention has them; `quantized`: both, left or neither."""
    graph = Graph()
    left = graph.quantized(graph.x, first) if quantized != "neither" else graph.x
    right = graph.input("z", ("b", "t", WIDTH) if transposed else ("b", WIDTH, "t"))
    right = graph.quantized(right, second) if quantized == "both" else right
    moved = graph.op("Transpose", right, perm=[0, 2, 1]) if transposed else right
    result = graph.op("MatMul", left, moved)
    result = result if out is None else graph.quantized(result, out)
    return graph.model(*((result, right) if shared_right else (result,)), opset=opset)


def read_by_two(codes: Any, out: Any) -> ir.Model:
    """A product whose output's codes two nodes read."""
    graph = Graph()
    result = graph.quantized(graph.op("MatMul", graph.quantized(graph.x, codes), graph.weight()), out)
    return graph.model(graph.op("Relu", result), graph.op("Tanh", result))


def between(kind: str, *more: Any, shape: Shape = RANK3, **attributes: Any) -> ir.Model:
    """An operator between DequantizeLinear and the product."""
    graph = Graph(shape)
    read = graph.op(kind, graph.quantized(graph.x), *(graph.constant(each) for each in more), **attributes)
    return graph.model(graph.op("MatMul", read, graph.weight()))


def behind(kind: str, *more: Any, quantized: bool = True) -> ir.Model:
    """An operator behind the product, and Q/DQ behind that."""
    graph = Graph()
    result = graph.op("MatMul", graph.quantized(graph.x), graph.weight())
    result = graph.op(kind, result, *(graph.constant(each) for each in more))
    return graph.model(graph.quantized(result) if quantized else result)


def read_twice(how: str) -> ir.Model:
    """A product's output that is quantized and read besides: by an Add, by another QuantizeLinear, as an output."""
    graph = Graph()
    result = graph.op("MatMul", graph.quantized(graph.x), graph.weight())
    codes = graph.quantized(result)
    if how == "output":
        return graph.model_with_output(result, codes)
    return graph.model(graph.op("Add", codes, result if how == "add" else graph.quantized(result, scale=0.1)))


def weights(how: str) -> ir.Model:
    """Weights that come to the product otherwise than as constant codes behind a DequantizeLinear."""
    graph = Graph()
    read = graph.quantized(graph.x)
    if how in ("float", "fake-quantized", "fake-quantized and transposed"):
        stored = np.random.default_rng(0).normal(size=(WIDTH, CHANNELS)).astype(np.float32)
        if how == "fake-quantized and transposed":
            scale = np.full(CHANNELS, 0.02)
            value = graph.quantized(graph.constant(stored.T.copy()), np.int8, scale=scale, axis=0)
            return graph.model(graph.op("MatMul", read, graph.op("Transpose", value, perm=[1, 0])))
        value = graph.constant(stored)
        return graph.model(graph.op("MatMul", read, value if how == "float" else graph.quantized(value, np.int8)))
    if how == "transposed":
        value = graph.op("Transpose", graph.weight(shape=(CHANNELS, WIDTH), axis=0), perm=[1, 0])
        return graph.model(graph.op("MatMul", read, value))
    if how == "reshaped":
        shape = graph.constant(np.array([WIDTH, CHANNELS], np.int64))
        value = graph.op("Reshape", graph.weight(shape=(2 * WIDTH, CHANNELS // 2)), shape)
        return graph.model(graph.op("MatMul", read, value))
    if how == "cast":
        codes = graph.constant(np.ones((WIDTH, CHANNELS), np.int8))
        value = graph.op("Mul", graph.op("Cast", codes, to=1), graph.constant(np.float32(0.01)))
        return graph.model(graph.op("MatMul", read, value))
    assert how == "first"
    graph = Graph(("b", WIDTH, "s"))
    return graph.model(graph.op("MatMul", graph.weight(shape=(CHANNELS, WIDTH)), graph.quantized(graph.x)))


def float_product() -> ir.Model:
    """A product that nobody quantized."""
    graph = Graph()
    return graph.model(graph.op("MatMul", graph.x, graph.constant(np.ones((WIDTH, CHANNELS), np.float32))))


def weights_alone(kind: str = "MatMul", **weight: Any) -> ir.Model:
    """A product with quantized weights and float activations."""
    graph = Graph(RANK2)
    return graph.model(graph.op(kind, graph.x, graph.weight(**weight)))


def four_bits() -> ir.Model:
    """Weights of four bits."""
    graph = Graph()
    codes = graph.constant(np.ones((WIDTH, CHANNELS), ml_dtypes.int4))
    value = graph.op("DequantizeLinear", codes, graph.constant(np.full(CHANNELS, 0.01, np.float32)), axis=1)
    return graph.model(graph.op("MatMul", graph.quantized(graph.x), value))


def eight_bit_floats() -> ir.Model:
    """Activations in float8."""
    graph = Graph()
    step, zero = graph.constant(np.float32(0.05)), graph.constant(np.zeros((), ml_dtypes.float8_e4m3fn))
    read = graph.op("DequantizeLinear", graph.op("QuantizeLinear", graph.x, step, zero), step, zero)
    return graph.model(graph.op("MatMul", read, graph.weight()))


def half_floats() -> ir.Model:
    """A product in float16 between Casts."""
    graph = Graph()
    step, zero = graph.constant(np.float16(0.05)), graph.constant(np.uint8(128))
    codes = graph.op("QuantizeLinear", graph.op("Cast", graph.x, to=10), step, zero)
    stored = (np.ones((WIDTH, CHANNELS), np.int8), np.float16(0.01), np.int8(0))
    weight = graph.op("DequantizeLinear", *map(graph.constant, stored))
    result = graph.op("MatMul", graph.op("DequantizeLinear", codes, step, zero), weight)
    return graph.model(graph.op("Cast", result, to=1))


def scale_per_channel(*, quantized_output: bool = False) -> ir.Model:
    """Activations with a scale per channel."""
    graph = Graph()
    read = graph.quantized(graph.x, scale=np.full(WIDTH, 0.05), axis=2)
    result = graph.op("MatMul", read, graph.weight())
    return graph.model(graph.quantized(result) if quantized_output else result)


def integer(kind: str, left: Any, right: Any) -> ir.Model:
    """The integer operators themselves: MatMulInteger or QLinearMatMul."""
    graph = Graph()
    step, zero = graph.constant(np.float32(0.05)), graph.constant(left(3))
    codes = graph.op("QuantizeLinear", graph.x, step, zero)
    stored = graph.constant(np.full((WIDTH, CHANNELS), 50, right))
    if kind == "QLinearMatMul":
        weight = (stored, graph.constant(np.float32(0.01)), graph.constant(right(0)))
        return graph.model(
            graph.op("DequantizeLinear", graph.op(kind, codes, step, zero, *weight, step, zero), step, zero)
        )
    sums = graph.op("Cast", graph.op(kind, codes, stored, zero), to=1)
    return graph.model(graph.op("Mul", sums, graph.constant(np.float32(0.0005))))


def dynamic(kind: Any = np.int8) -> ir.Model:
    """What quantize_dynamic writes."""
    graph = Graph()
    node = ir.node("DynamicQuantizeLinear", [graph.x], num_outputs=3)
    for number, output in enumerate(node.outputs):
        output.name = f"dynamic{number}"
    graph.nodes.append(node)
    codes, step, zero = node.outputs
    sums = graph.op("MatMulInteger", codes, graph.constant(np.full((WIDTH, CHANNELS), 50, kind)), zero)
    scale = graph.op("Mul", step, graph.constant(np.full(CHANNELS, 0.01, np.float32)))
    return graph.model(graph.op("Mul", graph.op("Cast", sums, to=1), scale))
