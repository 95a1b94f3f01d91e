"""The weights of a graph that was exported to ONNX, under the names that they had in the model.

People ship encoders as ONNX alone. Exporters keep the names of embeddings, biases and norms; a matrix that a product
reads is stored transposed as `onnx::MatMul_123`, and has its name from the bias that is added to the product, or from
the node (`/encoder/layer.0/attention/self/query/MatMul`), which torch names after its module. Weights in INT8
(ONNX Runtime's quantize_dynamic and quantize_static, or any DequantizeLinear of a constant) become floats again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.checkpoint.files import contained_path
from bertc.errors import InputError

NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
"""A tensor that still has its name: modules and a leaf, divided by dots."""

INNER_MODEL = re.compile(r"^.*\bauto_model\.")
"""What sentence-transformers' modules put before the names of the model that they hold."""

CODES = re.compile(r"(_Transposed)?_quantized$")
"""ONNX Runtime's ending of a quantized tensor (of a Gemm's matrix, which it transposes first, the whole of it)."""

PRODUCTS = ("MatMul", "Gemm", "MatMulInteger")
ON_THE_WAY = ("Cast", "Mul", "QuantizeLinear", "DequantizeLinear")
"""What may stand between a product and the addition of its bias."""

ORIGINAL = "give the checkpoint that it was exported from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A stored tensor: floats, or codes with their scale; `transposed` where a product reads it as [in, out]."""

    name: str
    stored: ir.TensorProtocol
    scale: ir.TensorProtocol | None = None
    zero_point: ir.TensorProtocol | None = None
    axis: int = -1
    transposed: bool = False


class OnnxFile:
    """A graph's tensors by the names of the model's. Opening it reads the graph; tensors are read when asked for.

    `notes` say that the weights come from a graph, and how many were in INT8. Raises `InputError` for a file that is
    damaged, for a graph that a runtime has optimized, and for a matrix whose name cannot be told.
    """

    def __init__(self, path: Path) -> None:
        """Read the graph and find the names."""
        self.path = path
        model = _graph_from_file(path)
        stored = {name: value.const_value for name, value in model.graph.initializers.items()}
        constants = {name: tensor for name, tensor in stored.items() if tensor is not None}
        outside = [tensor for tensor in constants.values() if isinstance(tensor, ir.ExternalTensor)]
        others = {contained_path(path.parent, str(tensor.location), path) for tensor in outside}
        missing = sorted(other.name for other in others if not other.is_file())
        if missing:
            raise InputError(f"{path} keeps weights in {missing[0]}, which is missing; copy it beside the graph")
        self.paths: tuple[Path, ...] = (path, *sorted(others))
        _add_equal(model.graph, constants)
        self._tensors = _named_parameters(path, model.graph, constants)
        if not self._tensors:
            raise InputError(f"{path} holds no weights with the names of a model; {ORIGINAL}")
        codes = sum(parameter.scale is not None for parameter in self._tensors.values())
        self.notes: tuple[str, ...] = (f"the weights were read from the exported graph {path.name}",)
        if codes:
            self.notes += (
                (
                    f"{codes} of its {len(self._tensors)} tensors were quantized and became floats again: the float "
                    "accuracy is that of the rounded weights, not of the model before"
                ),
            )

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tensor names."""
        return iter(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, as the model has it."""
        parameter = self._tensors[name]
        shape = tuple(int(size) for size in parameter.stored.shape.numpy())
        return shape[::-1] if parameter.transposed else shape

    def size(self, name: str) -> int:
        """Return a tensor's size in bytes as stored."""
        return int(self._tensors[name].stored.nbytes)

    def dtype(self, name: str) -> str:
        """Return a tensor's stored type, in ONNX's words."""
        return str(self._tensors[name].stored.dtype)

    def is_float(self, name: str) -> bool:
        """Say whether `array` can read a tensor: floats, and codes that have a scale."""
        parameter = self._tensors[name]
        return parameter.scale is not None or parameter.stored.dtype.is_floating_point()

    def array(self, name: str) -> NDArray[np.float32]:
        """Read a tensor as float32."""
        parameter = self._tensors[name]
        try:
            values = _values(parameter)
        except (ValueError, OSError, TypeError) as error:
            raise InputError(f"{self.path}: tensor {name} cannot be read ({error}); {ORIGINAL}") from error
        return np.ascontiguousarray(values.T if parameter.transposed else values)


def graph_file_from_folder(folder: Path) -> Path:
    """Return the graph that a folder's weights are read from where there are no others; the folder holds one at least.

    `model.onnx`, of the folder or of its folder `onnx`, goes before others. Raises `InputError` if none of several is
    called so, and for an artefact of bertc.
    """
    found = sorted(folder.rglob("*.onnx"))
    if (folder / "bertc.json").is_file():
        raise InputError(f"{folder} is an artefact that bertc built; give the checkpoint that it was built from")
    usual = [path for path in (folder / "model.onnx", folder / "onnx" / "model.onnx") if path in found]
    if not usual and len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:3])
        raise InputError(f"{folder} holds several graphs ({names}) and no model.onnx; keep one, or name it model.onnx")
    return (usual or found)[0]


def _graph_from_file(path: Path) -> ir.Model:
    try:
        model = ir.load(path)
    except Exception as error:  # the library of Protocol Buffers raises its own, onnx_ir what it trips over
        raise InputError(f"{path} cannot be read as ONNX ({error!s:.200}); copy or export it again") from error
    fused = sorted({node.op_type for node in model.graph if node.domain == "com.microsoft" and _has_weights(node)})
    if fused:
        raise InputError(
            f"{path} was rewritten for ONNX Runtime: its {fused[0]} holds weights in a form of its own; give the graph "
            "as it was exported, or the checkpoint"
        )
    return model


def _has_weights(node: ir.Node) -> bool:
    """Say whether a node reads a matrix that is stored."""
    return any(
        value is not None and value.const_value is not None and len(value.shape or ()) > 1 for value in node.inputs
    )


def _add_equal(graph: ir.Graph, constants: dict[str, ir.TensorProtocol]) -> None:
    """Add what torch's exporter has stored once: of equal tensors, all but one are Identity nodes with their names."""
    for node in graph:
        source = node.inputs[0].name if node.op_type == "Identity" and node.inputs[0] is not None else None
        if source in constants:
            constants[str(node.outputs[0].name)] = constants[str(source)]


def _named_parameters(path: Path, graph: ir.Graph, constants: Mapping[str, ir.TensorProtocol]) -> dict[str, Parameter]:
    """Return what has the name of a model's tensor, or gets it from the product that reads it."""
    parameters = _parameters(graph, constants)
    found = {parameter.name: parameter for parameter in parameters.values() if NAME.fullmatch(parameter.name)}
    for node in graph:
        if node.op_type not in PRODUCTS or len(node.inputs) < 2 or node.inputs[1] is None:
            continue
        parameter = parameters.get(str(node.inputs[1].name))
        if parameter is None or len(parameter.stored.shape) != 2:
            continue
        if not NAME.fullmatch(parameter.name):
            parameter = replace(parameter, name=_name_from_product(path, node, parameters))
        rows_first = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
        _check_same(path, found.get(parameter.name), parameter)
        found[parameter.name] = replace(parameter, transposed=not rows_first)
    return {INNER_MODEL.sub("", name): parameter for name, parameter in found.items()}


def _check_same(path: Path, before: Parameter | None, parameter: Parameter) -> None:
    """Refuse two matrices that get one name; layers that share their weights may have copies of one."""
    if before is None or before.stored is parameter.stored:
        return
    if not np.array_equal(before.stored.numpy(), parameter.stored.numpy()):
        raise InputError(f"{path}: two different matrices would be {parameter.name} of the model; {ORIGINAL}")


def _parameters(graph: ir.Graph, constants: Mapping[str, ir.TensorProtocol]) -> dict[str, Parameter]:
    """Return stored tensors by the value that the graph reads: floats, and codes by what makes them floats."""
    found: dict[str, Parameter] = {}
    scales = set()
    for name, tensor in constants.items():
        base = name.removesuffix("_quantized")
        scale, zero_point = constants.get(f"{base}_scale"), constants.get(f"{base}_zero_point")
        if base != name and scale is not None:
            found[name] = Parameter(name=CODES.sub("", name), stored=tensor, scale=scale, zero_point=zero_point)
            scales.add(f"{base}_scale")
        elif tensor.dtype.is_floating_point():
            found[name] = Parameter(name=name, stored=tensor)
    for node in graph:
        names = [None if value is None else str(value.name) for value in node.inputs]
        if node.op_type == "DequantizeLinear" and names[0] in constants and names[1] in constants:
            found[str(node.outputs[0].name)] = Parameter(
                name=CODES.sub("", str(names[0])),
                stored=constants[str(names[0])],
                scale=constants[str(names[1])],
                zero_point=constants.get(str(names[2])) if len(names) > 2 else None,
                axis=node.attributes.get_int("axis", 1),
            )
            scales.add(str(names[1]))
    return {value: parameter for value, parameter in found.items() if value not in scales}


def _name_from_product(path: Path, node: ir.Node, parameters: Mapping[str, Parameter]) -> str:
    """Return the name of a product's matrix, from its bias or from the node's own name."""
    bias = _bias_of(node, parameters)
    if bias is not None:
        return f"{bias.removesuffix('.bias')}.weight"
    modules = str(node.name).strip("/").split("/")[:-1]
    name = ".".join(modules)
    if not NAME.fullmatch(f"{name}.weight"):
        raise InputError(
            f"{path}: the product {node.name or node.op_type} reads {node.inputs[1].name if node.inputs[1] else ''}, "
            f"and neither a bias nor its own name says which matrix of the model that is; {ORIGINAL}"
        )
    return f"{name}.weight"


def _bias_of(node: ir.Node, parameters: Mapping[str, Parameter]) -> str | None:
    """Return the name of the bias that is added to a product."""
    while True:
        for value in node.inputs:
            parameter = None if value is None else parameters.get(str(value.name))
            if parameter is not None and node.op_type in ("Add", "Gemm") and parameter.name.endswith(".bias"):
                return parameter.name
        readers = [use.node for use in node.outputs[0].uses()]
        if node.op_type == "Add" or len(readers) != 1 or readers[0].op_type not in ("Add", *ON_THE_WAY):
            return None
        node = readers[0]


def _values(parameter: Parameter) -> NDArray[np.float32]:
    stored = parameter.stored.numpy()
    if parameter.scale is None:
        with np.errstate(over="ignore"):  # beyond float32 it becomes infinite, which the reader refuses
            return stored.astype(np.float32)
    scale = parameter.scale.numpy().astype(np.float32)
    zero = np.zeros_like(scale) if parameter.zero_point is None else parameter.zero_point.numpy().astype(np.float32)
    if scale.size > 1:
        along = [1] * stored.ndim
        along[parameter.axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    return ((stored.astype(np.float32) - zero) * scale).astype(np.float32).reshape(stored.shape)
