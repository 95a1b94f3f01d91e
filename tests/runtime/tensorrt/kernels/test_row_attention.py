"""The attention kernels against float64 arithmetic on the same codes and scales.

With a GPU they run on it; without, the same source runs in Triton's interpreter on the CPU. `make test-triton` installs
Triton and runs these; elsewhere they skip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.export.tensorrt.kernel import INPUTS, KERNEL_DOMAIN, SCALES, kernel_function, kernel_op
from bertc.ir.attention import AttentionInputs, AttentionShape, emit_attention
from bertc.ir.emit import IR_VERSION, OPSET, Emitter

pytestmark = pytest.mark.triton
Array = NDArray[Any]
LENGTHS = (1, 512, 64, 13)
HEADS = 2
INT8_BOUND, HALF_BOUND = 1e-2, 1e-3


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """The kernels, interpreted where there is no GPU. Triton reads the variable when it is imported, here first."""
    if find_spec("triton") is None:
        pytest.skip("needs the extra triton")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "0" if device() == "cuda" else "1")
        yield import_module("bertc.runtime.tensorrt.kernels.row_attention")


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Operands [tokens, hidden] of texts in one row, and the scales of query, key, value, probs and context."""

    query: Array
    key: Array
    value: Array
    ends: Array
    scales: Array

    @property
    def size(self) -> int:
        return int(self.query.shape[1]) // HEADS

    @property
    def longest(self) -> int:
        return int(np.diff(self.ends).max())


def ends_of(lengths: tuple[int, ...]) -> Array:
    return np.cumsum((0, *lengths)).astype(np.int32)


def case_of_codes(size: int, lengths: tuple[int, ...] = LENGTHS) -> Case:
    """Return random codes; the scores' spread is about 2, as of a trained model, the context fills its range."""
    generator = np.random.default_rng(size)
    shape = (3, sum(lengths), HEADS * size)
    query, key, value = np.clip(np.rint(generator.normal(0, 40, shape)), -127, 127).astype(np.int8)
    scales = np.array([0.035, 0.035, 0.02, 0.9 / 127, 0.012], np.float32)
    return Case(query=query, key=key, value=value, ends=ends_of(lengths), scales=scales)


def case_of_halves(size: int, lengths: tuple[int, ...] = LENGTHS) -> Case:
    generator = np.random.default_rng(size)
    query, key, value = generator.normal(0, 1.4, (3, sum(lengths), HEADS * size)).astype(np.float16)
    return Case(query=query, key=key, value=value, ends=ends_of(lengths), scales=np.ones(5, np.float32))


def expected(case: Case, *, quantized: bool) -> Array:
    """Return the context in float64, [tokens, hidden]; the probabilities are quantized with their scale or not."""
    query, key, value, probs, _ = (np.float64(scale) for scale in case.scales)
    context = np.zeros(case.query.shape)
    for begin, end in zip(case.ends[:-1], case.ends[1:], strict=True):
        for head in range(HEADS):
            part = (slice(begin, end), slice(head * case.size, (head + 1) * case.size))
            q, k, v = (each[part].astype(np.float64) for each in (case.query * query, case.key * key, case.value))
            scores = q @ k.T / np.sqrt(case.size)
            weights = np.exp(scores - scores.max(1, keepdims=True, initial=-np.inf))
            weights /= weights.sum(1, keepdims=True)
            if quantized:
                weights = np.clip(np.rint(weights / probs), -128, 127) * probs
            context[part] = weights @ v * value
    return context


def attended(kernels: ModuleType, case: Case, *, codes: bool = False) -> Array:
    """Run the INT8 kernel; returns the context as float32, or as its codes."""
    import torch

    arrays = (case.query, case.key, case.value, case.ends, case.scales)
    operands = [torch.from_numpy(each).to(device()) for each in arrays]
    context = torch.full(case.query.shape, 99, dtype=torch.int8 if codes else torch.float32, device=device())
    found = kernels.attention_from_codes(*operands, heads=HEADS, longest=case.longest, context=context)
    return np.asarray(found.cpu().numpy())


def attended_in_half(kernels: ModuleType, case: Case) -> Array:
    import torch

    operands = [torch.from_numpy(each).to(device()) for each in (case.query, case.key, case.value, case.ends)]
    context = torch.full(case.query.shape, 99, dtype=torch.float16, device=device())
    found = kernels.attention_from_halves(*operands, heads=HEADS, longest=case.longest, context=context)
    return np.asarray(found.cpu().numpy())


def error(found: Array, wanted: Array) -> float:
    """Return the norm-wise relative error."""
    return float(np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("size", [32, 64])
def test_int8_is_float64_on_the_same_codes(size: int, kernels: ModuleType) -> None:
    case = case_of_codes(size)
    wanted = expected(case, quantized=True)
    assert error(attended(kernels, case), wanted) <= INT8_BOUND
    # The twin: the probabilities' codes are part of it, not noise below the bound.
    assert error(expected(case, quantized=False), wanted) > 2 * INT8_BOUND


@pytest.mark.parametrize("size", [32, 64])
def test_the_context_s_codes_are_the_rounded_context(size: int, kernels: ModuleType) -> None:
    case = case_of_codes(size, (1, 130, 17))
    found = attended(kernels, case, codes=True)
    wanted = np.clip(np.rint(expected(case, quantized=True) / np.float64(case.scales[4])), -128, 127)
    assert found.dtype == np.int8
    assert error(found, wanted) <= INT8_BOUND
    assert np.abs(found - wanted).max() <= 1
    narrow = replace(case, scales=case.scales * np.array([1, 1, 1, 1, 0.05], np.float32))
    saturated = attended(kernels, narrow, codes=True)
    assert saturated.max() == 127 and saturated.min() == -128


@pytest.mark.parametrize("size", [32, 64])
def test_fp16_is_float64_on_the_same_values(size: int, kernels: ModuleType) -> None:
    case = case_of_halves(size)
    assert error(attended_in_half(kernels, case), expected(case, quantized=False)) <= HALF_BOUND


def test_a_wrong_scale_is_seen(kernels: ModuleType) -> None:
    case = case_of_codes(32, (1, 90))
    wanted = expected(case, quantized=True)
    assert error(attended(kernels, case), wanted) <= INT8_BOUND
    for place in range(4):
        factors = np.ones(5, np.float32)
        factors[place] = 1.1
        assert error(attended(kernels, replace(case, scales=case.scales * factors)), wanted) > INT8_BOUND


def test_a_text_that_sees_the_others_is_seen(kernels: ModuleType) -> None:
    codes, halves = case_of_codes(32, (1, 40, 30)), case_of_halves(32, (1, 40, 30))
    one = ends_of((71,))
    assert error(attended(kernels, codes), expected(codes, quantized=True)) <= INT8_BOUND
    assert error(attended(kernels, replace(codes, ends=one)), expected(codes, quantized=True)) > 10 * INT8_BOUND
    assert error(attended_in_half(kernels, halves), expected(halves, quantized=False)) <= HALF_BOUND
    blind = attended_in_half(kernels, replace(halves, ends=one))
    assert error(blind, expected(halves, quantized=False)) > 10 * HALF_BOUND


def test_no_other_row_is_written_and_an_empty_text_is_none(kernels: ModuleType) -> None:
    case = case_of_codes(32, (3, 0, 5))
    assert error(attended(kernels, case), expected(case, quantized=True)) <= INT8_BOUND
    first = attended(kernels, replace(case, ends=ends_of((3,))))
    assert (first[3:] == 99).all() and not (first[:3] == 99).any()


def simulated(case: Case) -> Array:
    """Run the simulator's own attention on a case in one row: bertc.ir.attention in ONNX Runtime."""
    import onnx_ir as ir
    import onnxruntime

    emit = Emitter()
    floats = [ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT)) for name in ("query", "key", "value")]
    numbers = [ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64)) for name in ("sentences", "mask")]
    scale = ir.Value(name="probs_scale", type=ir.TensorType(ir.DataType.FLOAT))
    shape = AttentionShape(
        split=emit.constant("split", np.array([0, 0, HEADS, case.size], np.int64)),
        merge=emit.constant("merge", np.array([0, 0, -1], np.int64)),
        scaling=emit.constant("scaling", np.float32(1 / np.sqrt(case.size))),
    )
    query, key, value = floats
    sentences, mask = numbers
    inputs = AttentionInputs(query=query, key=key, value=value, sentences=sentences, mask=mask, probs_scale=scale)
    context = emit_attention(emit, inputs, shape, "")
    context.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [*floats, *numbers, scale],
        [context],
        nodes=emit.nodes,
        initializers=emit.initializers,
        opset_imports={"": OPSET},
        name="attention",
    )
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    texts = np.repeat(np.arange(len(case.ends) - 1), np.diff(case.ends))[None] + 1
    feeds: dict[str, Any] = {"sentences": texts, "mask": texts, "probs_scale": np.asarray(case.scales[3])}
    for name, operand, factor in zip(
        ("query", "key", "value"), (case.query, case.key, case.value), case.scales[:3], strict=True
    ):
        feeds[name] = operand[None].astype(np.float32) * factor
    (found,) = session.run(None, feeds)
    return np.asarray(found)[0]


def test_it_is_what_the_simulator_computes(kernels: ModuleType) -> None:
    case = case_of_codes(32, (1, 70, 9))
    wanted = simulated(case)
    assert error(attended(kernels, case), wanted) <= INT8_BOUND
    other = replace(case, scales=case.scales * np.array([1, 1, 1, 2, 1], np.float32))
    assert error(attended(kernels, other), wanted) > INT8_BOUND


def body_codes(case: Case) -> Array:
    """Run what the plugin's node says to any other runtime: the function's body, in ONNX Runtime."""
    import onnx_ir as ir
    import onnxruntime

    types = dict.fromkeys(INPUTS, ir.DataType.INT8)
    types |= {"ends": ir.DataType.INT32, "longest": ir.DataType.INT32, "scales": ir.DataType.FLOAT}
    inputs = [ir.Value(name=name, type=ir.TensorType(types[name])) for name in INPUTS]
    emit = Emitter()
    attributes = {"plugin_version": "1", "plugin_namespace": "bertc", "aot": 1}
    context = emit.op(kernel_op(HEADS, case.size), *inputs, name="attended", domain=KERNEL_DOMAIN, **attributes)
    context.type = ir.TensorType(ir.DataType.INT8)
    opsets = {"": OPSET, KERNEL_DOMAIN: 1}
    graph = ir.Graph(inputs, [context], nodes=emit.nodes, opset_imports=opsets, name="attention")
    functions = [kernel_function(HEADS, case.size)]
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, functions=functions)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {name: getattr(case, name)[None] for name in ("query", "key", "value")}
    longest = np.zeros(case.longest, np.int32)
    (found,) = session.run(None, feeds | {"ends": case.ends, "longest": longest, "scales": case.scales})
    return np.asarray(found)[0]


def test_the_plugin_s_body_says_what_the_kernel_computes(kernels: ModuleType) -> None:
    case = case_of_codes(32, (1, 70, 9))
    case = replace(case, scales=case.scales * np.array([0.8, 1.2, 0.7, 0.9, 1], np.float32))
    found = attended(kernels, case, codes=True)
    wanted = body_codes(case).astype(np.float64)
    assert len(set(case.scales)) == len(SCALES)
    assert error(found, wanted) <= INT8_BOUND and np.abs(found - wanted).max() <= 1
    turned = attended(kernels, replace(case, scales=np.roll(case.scales, 1)), codes=True)
    assert error(turned, wanted) > INT8_BOUND
