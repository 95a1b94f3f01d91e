"""The graph that TensorRT gets in FP8: its types and scales, and that its numbers are those of `cuda-fp8`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from bertc.export.embeddings import store_embeddings
from bertc.export.tensorrt.fp8 import E4M3, e4m3_from_int8, is_fp8
from bertc.export.tensorrt.limits import DECOMPOSED, KERNEL, NATIVE, PACKED
from bertc.export.tensorrt.lower import lower_graph
from bertc.ir.affine import E4M3_MAX, TO_E4M3
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.plan.compile import plan_from_graph
from tests.fp8_reference import Fp8Run
from tests.native_reference import run_plan
from tests.tiny import LAYERS, Array, TinyModel, quantized, rms, run_engine, tiny_scheme

LAYOUTS = (DECOMPOSED, NATIVE, PACKED)
AS_CUDA = tiny_scheme("1").without_roles(frozenset(FLOAT_ROLES))
"""Mode 1 without codes of probabilities, as `cuda-fp8` has it."""


def source(model: TinyModel, scheme: Scheme | None = None) -> ir.Model:
    stored = replace(model, graph=store_embeddings(model.graph).graph)
    return quantized(stored, tiny_scheme("1") if scheme is None else scheme).graph


def pairs(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]


# --- codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_those_that_the_engine_for_gpus_makes() -> None:
    codes = np.arange(-127, 128).astype(np.int8)
    wanted = (torch.from_numpy(codes).float() * TO_E4M3).to(torch.float8_e4m3fn).float().numpy()
    found = e4m3_from_int8(codes).astype(np.float32)
    np.testing.assert_array_equal(found, wanted)
    assert found[-1] == E4M3_MAX == -found[0] and not found[127] and (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found, codes * TO_E4M3, rtol=2**-4)


# --- structure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("half", [False, True])
def test_every_code_is_e4m3_and_every_scale_is_for_448(half: bool, attention: str, tiny_classifier: TinyModel) -> None:
    graph = source(tiny_classifier)
    int8, fp8 = (lower_graph(graph, attention=attention, half=half, fp8=each) for each in (False, True))
    assert is_fp8(fp8) and not is_fp8(int8)
    assert [node.op_type for node in fp8.graph] == [node.op_type for node in int8.graph]
    for before, after in zip(pairs(int8), pairs(fp8), strict=True):
        wanted = array_of(before.inputs[1]) / TO_E4M3
        np.testing.assert_allclose(array_of(after.inputs[1]), wanted, rtol=2e-3 if half else 1e-6)
        for value in (after.inputs[0], *after.inputs[2:]):
            assert value is not None and (value.const_value is None or value.dtype == E4M3)
    assert not any(value.dtype == ir.DataType.INT8 for value in fp8.graph.initializers.values())
    constants = fp8.graph.initializers.items()
    weights = [value for name, value in constants if name.startswith("layer.") and name.endswith("_gemm.weight")]
    assert len(weights) == 6 * LAYERS and all(value.dtype == E4M3 for value in weights)


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("half", [False, True])
def test_the_file_is_plain_onnx_whose_codes_are_raw_bytes(
    half: bool, attention: str, tiny_classifier: TinyModel
) -> None:
    """onnx-tensorrt 10.1 takes the other field, of 32-bit integers, for bytes."""
    model = ir.to_proto(lower_graph(source(tiny_classifier), attention=attention, half=half, fp8=True))
    onnx.checker.check_model(model, full_check=True)
    codes = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT8E4M3FN]
    assert codes and all(len(each.raw_data) == np.prod(each.dims) for each in codes)
    assert {each.version for each in model.opset_import} == {20}


def test_a_graph_in_float_has_no_codes(tiny_classifier: TinyModel) -> None:
    assert not is_fp8(lower_graph(tiny_classifier.graph, fp8=True))


def test_the_plugin_is_int8(tiny_classifier: TinyModel) -> None:
    with pytest.raises(AssertionError, match="what a plugin computes is INT8"):
        lower_graph(source(tiny_classifier), attention=KERNEL, fp8=True)


# --- numbers ----------------------------------------------------------------------------------------------------------


def answers(model: TinyModel, scheme: Scheme, attention: str = DECOMPOSED, *, wrong: str = "") -> Array:
    """Return the file's logits; one scale of it may be made wrong by a quarter."""
    lowered = lower_graph(source(model, scheme), attention=attention, fp8=True)
    if wrong:
        scale = lowered.graph.initializers[wrong]
        set_constant(scale, array_of(scale) * np.float32(1.25))
    (found,) = run_engine(lowered, model.batch, ["logits"])
    return found


@pytest.fixture(scope="module")
def exact(tiny_classifier: TinyModel) -> Array:
    """The float model's logits."""
    return Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"]


@pytest.fixture(scope="module")
def of_cuda(tiny_classifier: TinyModel) -> Array:
    """What the plan of `cuda-fp8` gives in numpy."""
    plan, arrays = plan_from_graph(source(tiny_classifier, AS_CUDA))
    return run_plan(plan, arrays, tiny_classifier.batch, kind=Fp8Run)["logits"]


@pytest.mark.parametrize("attention", LAYOUTS)
def test_the_numbers_are_those_of_the_plan_of_cuda_fp8(
    attention: str, of_cuda: Array, exact: Array, tiny_classifier: TinyModel
) -> None:
    """They differ by the order of sums alone, and by a code beside an edge where that moves it (here: none)."""
    found = answers(tiny_classifier, AS_CUDA, attention)
    assert rms(found - of_cuda) <= 0.01 * rms(of_cuda - exact)
    int8 = Interpreter(source(tiny_classifier, AS_CUDA)).run(tiny_classifier.batch)["logits"]
    assert rms(int8 - of_cuda) > 0.5 * rms(of_cuda - exact), "INT8 would pass as FP8"


@pytest.mark.parametrize("wrong", ["hidden", "query", "key", "value", "context", "attention_norm", "gelu"])
def test_a_changed_scale_is_noticed(wrong: str, of_cuda: Array, exact: Array, tiny_classifier: TinyModel) -> None:
    """The scale of one pair: what it gives changes by rounding and cutting alone."""
    found = answers(tiny_classifier, AS_CUDA, wrong=f"layer.0.{wrong}.scale")
    assert rms(found - of_cuda) > 0.2 * rms(of_cuda - exact)


@pytest.mark.parametrize("gemm", ["query", "key", "value", "attention", "intermediate", "output"])
def test_a_changed_scale_of_weights_is_noticed(
    gemm: str, of_cuda: Array, exact: Array, tiny_classifier: TinyModel
) -> None:
    found = answers(tiny_classifier, AS_CUDA, wrong=f"layer.0.{gemm}_gemm.weight_scale")
    assert rms(found - of_cuda) > 0.2 * rms(of_cuda - exact)


@pytest.mark.parametrize("attention", LAYOUTS)
def test_onnx_s_own_evaluator_gives_the_same(attention: str, exact: Array, tiny_classifier: TinyModel) -> None:
    lowered = lower_graph(source(tiny_classifier), attention=attention, fp8=True)
    batch = tiny_classifier.batch
    feeds = batch.feeds([str(each.name) for each in lowered.graph.inputs])
    inputs = {name: array.astype(np.int32) for name, array in feeds.items()}
    (wanted,) = ReferenceEvaluator(ir.to_proto(lowered)).run(["logits"], inputs)
    (found,) = run_engine(lowered, batch, ["logits"])
    assert rms(found - wanted) <= 0.01 * rms(wanted - exact)


@pytest.mark.parametrize("attention", LAYOUTS)
def test_fp16_between_the_products_moves_codes(attention: str, exact: Array, tiny_classifier: TinyModel) -> None:
    graph = source(tiny_classifier)
    whole, half = (
        run_engine(lower_graph(graph, attention=attention, half=each, fp8=True), tiny_classifier.batch, ["logits"])[0]
        for each in (False, True)
    )
    assert 1e-4 < rms(half - whole) <= 1.5 * rms(whole - exact)
