"""The closed list of operators that a graph of the compiler is made of, as functions of torch tensors.

An input that is constant in the graph comes as a Python number or list. Under bfloat16 autocast the products run in
bfloat16, and everything that sums or exponentiates is taken back to float32 here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx_ir as ir
import torch
from torch.nn import functional

Tensor = torch.Tensor
DTYPES = {
    int(ir.DataType.BOOL): torch.bool,
    int(ir.DataType.FLOAT): torch.float32,
    int(ir.DataType.INT64): torch.int64,
}


def _gather(table: Tensor | list[int], index: Tensor, *, axis: int = 0) -> Tensor:
    assert axis == 0, "only a table's rows are gathered"
    if isinstance(table, list):
        return torch.tensor(table, device=index.device)[index]
    index = index.to(table.device)  # what follows from a size alone is made on the CPU
    return functional.embedding(index, table) if table.ndim == 2 else table[index]


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> list[int]:
    return list(x.shape[start:end])


def _add(left: Tensor | list[int], right: Tensor | list[int]) -> Tensor | list[int]:
    if isinstance(left, list) and isinstance(right, list):  # a shape and an offset
        return [one + other for one, other in zip(left, right, strict=True)]
    return torch.add(left, right)  # type: ignore[arg-type]


def _slice(x: Tensor, starts: list[int], ends: list[int]) -> Tensor:
    return x[tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))]


def _layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, axis: int, epsilon: float) -> Tensor:
    assert axis == -1, "a norm is over the last axis"
    return functional.layer_norm(x.float(), gamma.shape, gamma, beta, epsilon)


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return functional.gelu(x.float(), approximate=approximate)


def _where(condition: Tensor, x: Tensor, other: float) -> Tensor:
    # -3.4e38 is no bfloat16: it would become an infinity there, and a row without any token NaN.
    return x.float().masked_fill(~condition, other)


def _reshape(x: Tensor, shape: list[int]) -> Tensor:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _split(x: Tensor, *, axis: int, num_outputs: int) -> tuple[Tensor, ...]:
    return x.chunk(num_outputs, dim=axis)


def _maximum(x: Tensor | int, floor: float) -> Tensor | int:
    return x.clamp_min(floor) if isinstance(x, torch.Tensor) else max(x, int(floor))  # a size is a number of Python's


def _minimum(x: Tensor, ceiling: float) -> Tensor:
    return x.clamp_max(ceiling)


def _largest(x: Tensor, axes: list[int] | None = None, *, keepdims: int = 1) -> Tensor:
    return x.max() if axes is None else x.amax(axes, keepdim=bool(keepdims))


def _range(start: int, limit: Tensor | int, step: int) -> Tensor:
    device = limit.device if isinstance(limit, torch.Tensor) else None
    return torch.arange(start, int(limit), step, device=device)


def _squeeze(x: Tensor | list[int], axes: list[int]) -> Tensor | int:
    if isinstance(x, list):  # a size
        (size,) = x
        return size
    return x.squeeze(tuple(axes))


OPERATORS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Abs": torch.abs,
        "Add": _add,
        "And": torch.logical_and,
        "Cast": lambda x, *, to: x.to(DTYPES[to]),
        "Concat": lambda *parts, axis: torch.cat(parts, axis),
        "CumSum": lambda x, axis: x.cumsum(axis),
        "Div": torch.div,
        "Equal": torch.eq,
        "Gather": _gather,
        "GatherND": lambda x, places: x[places.unbind(-1)],
        "Gelu": _gelu,
        "Identity": lambda x: x,
        "LayerNormalization": _layer_norm,
        "LessOrEqual": torch.le,
        "Log": torch.log,
        "MatMul": torch.matmul,
        "Max": _maximum,
        "Min": _minimum,
        "Mod": torch.remainder,
        "Mul": torch.mul,
        "NonZero": lambda x: torch.nonzero(x).T,
        "Pow": torch.pow,
        "Range": _range,
        "ReduceL2": lambda x, axes, *, keepdims=1: x.float().norm(dim=axes, keepdim=bool(keepdims)),
        "ReduceMax": _largest,
        "ReduceMean": lambda x, axes, *, keepdims=1: x.float().mean(axes, keepdim=bool(keepdims)),
        "ReduceSum": lambda x, axes, *, keepdims=1: x.float().sum(axes, keepdim=bool(keepdims)),
        "Relu": torch.relu,
        "Reshape": _reshape,
        "Shape": _shape,
        "Sigmoid": torch.sigmoid,
        "Size": lambda x: x.numel(),
        "Slice": _slice,
        "Softmax": lambda x, *, axis: torch.softmax(x.float(), axis),
        "Split": _split,
        "Sqrt": torch.sqrt,
        "Squeeze": _squeeze,
        "Sub": lambda x, y: x - y,
        "Tanh": torch.tanh,
        "Transpose": lambda x, *, perm: x.permute(perm),
        "Unsqueeze": _unsqueeze,
        "Where": _where,
    }
)
"""By ONNX name; called with the node's inputs and its attributes as keywords."""
