"""What becomes of a product in ONNX Runtime: verdict and operator as its optimized graph has them, and the reason.

Each form is run with and without optimization too: only what is called broken may refuse, or answer otherwise.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.runtime.ort.products import ATTENTION, FLOAT, INTEGER, WEIGHTS_ALONE, Verdict, products_from_path
from tests import quantized_forms as forms
from tests.tiny import TinyModel

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="ARM fuses signed codes as well")

U8, S8, U16, S16 = np.uint8, np.int8, np.uint16, np.int16
AT_RANDOM = 7
CLOSE = 0.02
"""Of the largest output: products of codes differ by rounding alone, and MatMulNBits rounds its activations."""

Form = Callable[[], ir.Model]
TO_FLOAT, CODES = "MatMulIntegerToFloat", "QLinearMatMul"
SLOW_SIGNED, SLOW_WEIGHTS = "20 times slower", "weights are unsigned"
SHARED = "signed and several nodes read them"
PER_INPUT, PER_CHANNEL, PER_BLOCK = "scale per input channel", "scale per channel", "scale per block"
FLOAT_BIAS, FACTORS = "float bias is fused only where its output", "alpha or beta"
TYPES = "take INT8 and UINT8 alone"

WELL: dict[str, tuple[Form, str]] = {
    "unsigned activations": (forms.product, TO_FLOAT),
    "with codes out": (lambda: forms.product(out=U8), CODES),
    "signed, read once": (lambda: forms.product(codes=S8), TO_FLOAT),
    "signed, codes out": (lambda: forms.product(codes=S8, out=S8), CODES),
    "signed, unsigned codes out": (lambda: forms.product(codes=S8, out=U8), CODES),
    "unsigned, signed codes out": (lambda: forms.product(out=S8), CODES),
    "per output channel": (lambda: forms.product(weight={"axis": 1}), TO_FLOAT),
    "per output channel, codes out": (lambda: forms.product(weight={"axis": 1}, out=U8), CODES),
    "one block": (lambda: forms.product(weight={"block": forms.WIDTH}), TO_FLOAT),
    "opset 13": (lambda: forms.product(opset=13), TO_FLOAT),
    "Microsoft's Q/DQ": (lambda: forms.product(domain=forms.MICROSOFT, out=U8), CODES),
    "rank 2": (lambda: forms.product(forms.RANK2), TO_FLOAT),
    "rank 2, bias, codes out": (lambda: forms.product(forms.RANK2, bias=True, out=U8), "QGemm"),
    "rank 3, bias": (lambda: forms.product(bias=True), TO_FLOAT),
    "fixed sizes, bias, codes out": (lambda: forms.product(forms.FIXED, bias=True, out=U8), "QGemm"),
    "Gemm": (forms.gemm, "QGemm"),
    "Gemm, INT32 bias": (lambda: forms.gemm(bias="int32"), "QGemm"),
    "Gemm, INT32 bias per channel": (lambda: forms.gemm(bias="int32", weight={"axis": 1}, out=U8), "QGemm"),
    "Gemm, float bias, codes out": (lambda: forms.gemm(bias="float", out=U8), "QGemm"),
    "Gemm, alpha": (lambda: forms.gemm(alpha=2.0), "QGemm"),
    "Gemm, transposed": (
        lambda: forms.gemm(weight={"shape": (forms.CHANNELS, forms.WIDTH), "axis": 0}, transB=1),
        "QGemm",
    ),
    "unsigned, shared": (lambda: forms.shared(U8), CODES),
    "unsigned, shared, own Q": (lambda: forms.shared(U8, own_quantize=True), CODES),
    "unsigned, residual": (lambda: forms.residual(U8), CODES),
    "two activations": (lambda: forms.scores(U8, U8), TO_FLOAT),
    "two signed activations": (lambda: forms.scores(S8, S8), TO_FLOAT),
    "codes out, read twice": (lambda: forms.read_by_two(U8, U8), CODES),
    "signed scores before opset 21": (lambda: forms.scores(S8, S8, transposed=True, opset=20), TO_FLOAT),
    "signed, right one shared": (lambda: forms.scores(S8, S8, shared_right=True), TO_FLOAT),
    "left unsigned, right signed and shared": (lambda: forms.scores(U8, S8, shared_right=True), TO_FLOAT),
    "scores": (lambda: forms.scores(U8, U8, transposed=True), TO_FLOAT),
    "Reshape between": (
        lambda: forms.between("Reshape", np.array([0, 0, 16], np.int64), shape=("b", "s", 16)),
        TO_FLOAT,
    ),
    "Relu behind, float": (lambda: forms.behind("Relu", quantized=False), TO_FLOAT),
    "fake-quantized weights": (lambda: forms.weights("fake-quantized"), TO_FLOAT),
    "fake-quantized, transposed weights": (lambda: forms.weights("fake-quantized and transposed"), TO_FLOAT),
    "transposed weights": (lambda: forms.weights("transposed"), TO_FLOAT),
    "MatMulInteger": (lambda: forms.integer("MatMulInteger", U8, S8), "MatMulInteger"),
    "QLinearMatMul": (lambda: forms.integer("QLinearMatMul", U8, S8), CODES),
    "quantize_dynamic": (forms.dynamic, "DynamicQuantizeMatMul"),
}
SLOW: dict[str, tuple[Form, str, str]] = {
    "unsigned weights": (lambda: forms.product(weight={"kind": U8}), TO_FLOAT, SLOW_WEIGHTS),
    "signed, unsigned weights": (lambda: forms.product(codes=S8, weight={"kind": U8}), TO_FLOAT, SLOW_WEIGHTS),
    "dynamic, unsigned weights": (lambda: forms.dynamic(U8), "DynamicQuantizeMatMul", SLOW_WEIGHTS),
    "MatMulInteger, signed": (lambda: forms.integer("MatMulInteger", S8, S8), "MatMulInteger", SLOW_SIGNED),
    "QLinearMatMul, signed": (lambda: forms.integer("QLinearMatMul", S8, S8), CODES, SLOW_SIGNED),
}
IN_FLOAT: dict[str, tuple[Form, str, str]] = {
    "float": (forms.float_product, "MatMul", "float in the file"),
    "neither activation": (lambda: forms.scores(U8, U8, quantized="neither"), "MatMul", "float in the file"),
    "one activation": (lambda: forms.scores(U8, U8, quantized="left"), "MatMul", "right operand is float"),
    "weights alone": (forms.weights_alone, WEIGHTS_ALONE, "rounds its activations to INT8"),
    "weights alone, Gemm": (lambda: forms.weights_alone("Gemm", axis=1), WEIGHTS_ALONE, "rounds its activations"),
    "weights alone, per input": (lambda: forms.weights_alone(axis=0), "MatMul", "float; put Q/DQ in front of them"),
    "float weights": (lambda: forms.weights("float"), "MatMul", "its weights float"),
    "weights by Cast and Mul": (lambda: forms.weights("cast"), "MatMul", "its weights float"),
    "Mul between": (lambda: forms.between("Mul", np.float32(0.5)), WEIGHTS_ALONE, "Mul stands between"),
    "Relu between": (lambda: forms.between("Relu"), WEIGHTS_ALONE, "Relu stands between"),
    "Gather between": (
        lambda: forms.between("Gather", np.array([0], np.int64), axis=1),
        WEIGHTS_ALONE,
        "Gather stands between",
    ),
    "reshaped weights": (lambda: forms.weights("reshaped"), "MatMul", "Reshape stands between"),
    "weights first": (lambda: forms.weights("first"), "MatMul", "left operand is a constant with signed codes"),
    "16 bits": (lambda: forms.product(codes=U16), WEIGHTS_ALONE, "UINT16"),
    "16 bits signed, codes out": (lambda: forms.product(codes=S16, out=S16), WEIGHTS_ALONE, "INT16"),
    "16 bits of weights": (lambda: forms.product(weight={"kind": S16}), "MatMul", TYPES),
    "four bits": (forms.four_bits, "MatMul", "INT4"),
    "16 bits out": (lambda: forms.product(out=U16), "MatMul", "output's codes are UINT16"),
    "float8": (forms.eight_bit_floats, "MatMul", "FLOAT8E4M3FN"),
    "float16": (forms.half_floats, "MatMul", "FLOAT16"),
    "per input channel, codes out": (lambda: forms.product(weight={"axis": 0}, out=U8), "MatMul", PER_INPUT),
    "per block, codes out": (lambda: forms.product(weight={"block": 8}, out=U8), "MatMul", PER_BLOCK),
    "Gemm per input channel": (lambda: forms.gemm(weight={"axis": 0}), "Gemm", PER_INPUT),
    "Gemm per block": (lambda: forms.gemm(weight={"block": 8}), "Gemm", PER_BLOCK),
    "activations per channel": (lambda: forms.scale_per_channel(quantized_output=True), "MatMul", PER_CHANNEL),
    "rank 2, bias": (lambda: forms.product(forms.RANK2, bias=True), "Gemm", "MatMulAddFusion"),
    "fixed sizes, bias": (lambda: forms.product(forms.FIXED, bias=True), "Gemm", "MatMulAddFusion"),
    "Gemm, float bias": (lambda: forms.gemm(bias="float"), "Gemm", FLOAT_BIAS),
    "Gemm, float bias, Tanh": (lambda: forms.gemm(bias="float", behind="Tanh"), "FusedGemm", FLOAT_BIAS),
    "Gemm, computed bias": (lambda: forms.gemm(bias="computed"), "Gemm", "bias is computed"),
    "Gemm, INT8 bias": (lambda: forms.gemm(bias="int8", out=U8), "Gemm", "INT8 codes; INT32 is wanted"),
    "Gemm, alpha and bias": (lambda: forms.gemm(bias="int32", out=U8, alpha=2.0), "Gemm", FACTORS),
    "Gemm, beta": (lambda: forms.gemm(bias="int32", out=U8, beta=2.0), "Gemm", FACTORS),
    "signed, shared": (lambda: forms.shared(S8), "MatMul", SHARED),
    "signed, own DQ": (lambda: forms.shared(S8, own_dequantize=True), "MatMul", SHARED),
    "signed, own Q": (lambda: forms.shared(S8, own_quantize=True), "MatMul", SHARED),
    "signed, residual": (lambda: forms.residual(S8), "MatMul", SHARED),
    "signed output, read twice": (lambda: forms.read_by_two(S8, S8), "MatMul", f"output's codes are {SHARED}"),
    "signed output of unsigned": (lambda: forms.read_by_two(U8, S8), "MatMul", f"output's codes are {SHARED}"),
    "output added": (lambda: forms.read_twice("add"), "MatMul", "several nodes read its float output"),
    "output quantized twice": (lambda: forms.read_twice("quantize"), "MatMul", "several nodes read its float output"),
    "output of the model": (lambda: forms.read_twice("output"), "MatMul", "an output of the model besides"),
    "Clip behind": (
        lambda: forms.behind("Clip", np.float32(-1), np.float32(1)),
        "MatMul",
        "Clip stands between it and QuantizeLinear",
    ),
    "Relu behind": (lambda: forms.behind("Relu"), "MatMul", "Relu stands between it and QuantizeLinear"),
}
BROKEN: dict[str, tuple[Form, str, str]] = {
    "per input channel": (lambda: forms.product(weight={"axis": 0}), TO_FLOAT, "refuses"),
    "per input channel, square": (
        lambda: forms.product(weight={"axis": 0, "shape": (forms.WIDTH, forms.WIDTH)}),
        TO_FLOAT,
        "wrong answers",
    ),
    "per block": (lambda: forms.product(weight={"block": 8}), TO_FLOAT, "refuses"),
    "activations per channel": (forms.scale_per_channel, TO_FLOAT, "refuses"),
    "bias of another scale": (lambda: forms.gemm(bias="other"), "QGemm", "wrong answers"),
    "bias of another scale, codes out": (lambda: forms.gemm(bias="other", out=U8), "QGemm", "wrong answers"),
}
CASES: list[Any] = [
    *(pytest.param(form, runs, Verdict.INT8, "", id=name) for name, (form, runs) in WELL.items()),
    *(pytest.param(*case[:2], Verdict.SLOW, case[2], id=name) for name, case in SLOW.items()),
    *(pytest.param(*case[:2], Verdict.FLOAT, case[2], id=f"float: {name}") for name, case in IN_FLOAT.items()),
    *(pytest.param(*case[:2], Verdict.BROKEN, case[2], id=f"broken: {name}") for name, case in BROKEN.items()),
]


def feeds(model: ir.Model) -> dict[str, Any]:
    rng = np.random.default_rng(AT_RANDOM)
    sizes = {
        value.name: [forms.DIMENSIONS[size.value] if isinstance(size, ir.SymbolicDim) else size for size in value.shape]
        for value in model.graph.inputs
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}


def run(model: ir.Model, path: Path, *, optimized: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if optimized:
        options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds(model))[0]


@pytest.mark.parametrize(("form", "runs_as", "verdict", "reason"), CASES)
def test_each_form_s_verdict_is_onnx_runtime_s(
    form: Form, runs_as: str, verdict: Verdict, reason: str, tmp_path: Path
) -> None:
    model, path = form(), tmp_path / "form.onnx"
    ir.save(model, path)
    found = products_from_path(path).products
    assert {(each.runs_as, each.verdict) for each in found} == {(runs_as, verdict)}
    assert all(reason in each.reason and bool(each.reason) == bool(reason) for each in found), found[0].reason
    plain = run(model, path, optimized=False)
    try:
        answer = run(model, path, optimized=True)
    except Exception as error:  # noqa: BLE001  ONNX Runtime has some ten unrelated classes
        assert verdict == Verdict.BROKEN and "refuses" in reason, str(error)
        return
    operators = Counter(node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph)
    assert operators[runs_as] == len(found)
    assert sum(operators[kind] for kind in (*INTEGER, *FLOAT, WEIGHTS_ALONE)) == len(found)
    error = float(np.abs(answer - plain).max() / np.abs(plain).max())
    assert (error > CLOSE) == (verdict == Verdict.BROKEN), error


def test_a_form_that_no_rule_knows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.runtime.ort.product_reasons.FLOAT_RULES", ())
    ir.save(forms.residual(S8), tmp_path / "form.onnx")
    (product,) = products_from_path(tmp_path / "form.onnx").products
    assert (product.verdict, product.reason) == (Verdict.FLOAT, "for a reason that bertc does not know")


def test_a_product_that_another_one_replaced_is_gone(tmp_path: Path) -> None:
    graph = forms.Graph()
    weight = graph.constant(np.ones((forms.WIDTH, forms.CHANNELS), np.float32))
    both = graph.op("Add", *(graph.op("MatMul", graph.x, weight) for _ in range(2)))
    ir.save(graph.model(both), tmp_path / "form.onnx")
    found = products_from_path(tmp_path / "form.onnx")
    assert (found.number(), found.number(Verdict.GONE), found.number(Verdict.FLOAT)) == (2, 1, 1)
    assert found.products[0].name.startswith("MatMul_") and found.producer == "forms" and found.opset == 21


@pytest.mark.parametrize(
    "form",
    [lambda: forms.product(forms.FIXED, codes=S8, bias=True), lambda: forms.scores(S8, S8, transposed=True)],
    ids=["fixed sizes and a bias", "scores in opset 21"],
)
def test_signed_codes_that_cannot_be_moved_name_the_cure(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "form.onnx"
    ir.save(form(), path)
    with pytest.raises(InputError, match=r"form.onnx cannot be opened.*UINT8, or .*disabled_optimizers=\[") as caught:
        products_from_path(path)
    cure = ["MatMulAddFusion", "QDQPropagationTransformer"]
    assert ", ".join(f'"{each}"' for each in cure) in str(caught.value)
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], disabled_optimizers=cure)


def test_an_operator_that_is_not_there_is_named_as_in_the_file(tmp_path: Path) -> None:
    ir.save(forms.integer("QLinearMatMul", S8, U8), tmp_path / "form.onnx")
    with pytest.raises(InputError, match="node with name 'QLinearMatMul_1'"):
        products_from_path(tmp_path / "form.onnx")


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_what_is_no_onnx_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.onnx"):
        products_from_path(tmp_path / "x.onnx")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.onnx cannot be read"):
        products_from_path(tmp_path / "x.onnx")


def test_attention_nodes_count_their_products(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    ir.save(ort.lower_graph(tiny_classifier.graph), tmp_path / "float.onnx")
    found = products_from_path(tmp_path / "float.onnx")
    layers = sum(each.operator in ATTENTION for each in found.products)
    assert layers and found.number(Verdict.INT8) == 0 and found.number(Verdict.GONE) == 0
    assert all(each.verdict == Verdict.FLOAT for each in found.products)


def test_weights_may_lie_in_a_file_beside(tmp_path: Path) -> None:
    ir.save(forms.product(), tmp_path / "form.onnx", external_data="weights.bin", size_threshold_bytes=0)
    before = (tmp_path / "form.onnx").read_bytes()
    (product,) = products_from_path(tmp_path / "form.onnx").products
    assert product.verdict == Verdict.INT8
    assert (tmp_path / "form.onnx").read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"form\.onnx"):
        products_from_path(tmp_path / "form.onnx")


def test_products_in_functions_are_seen(tmp_path: Path) -> None:
    graph = forms.Graph()
    x, w = (ir.Value(name=name) for name in "xw")
    node = ir.node("MatMul", [x, w])
    body = ir.Graph([x, w], node.outputs, nodes=[node], opset_imports={"": 21}, name="body")
    function = ir.Function("local", "Dense", graph=body, attributes=[])
    weight = graph.constant(np.ones((forms.WIDTH, forms.CHANNELS), np.float32))
    model = graph.model(graph.op("Dense", graph.x, weight, domain="local"))
    model.functions[function.identifier()] = function
    model.opset_imports["local"] = 1
    ir.save(model, tmp_path / "form.onnx")
    (product,) = products_from_path(tmp_path / "form.onnx").products
    assert (product.operator, product.verdict) == ("MatMul", Verdict.FLOAT)


def test_products_in_branches_are_seen(tmp_path: Path) -> None:
    graph = forms.Graph()
    weight = graph.constant(np.ones((forms.WIDTH, forms.CHANNELS), np.float32))
    branches = []
    for sign in (1.0, -1.0):
        inner = ir.node("MatMul", [graph.x, weight])
        scaled = ir.node("Mul", [inner.outputs[0], graph.constant(np.float32(sign))])
        branches.append(ir.Graph([], scaled.outputs, nodes=[inner, scaled], name=f"branch{sign:g}"))
    condition = ir.Value(name="condition", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    graph.inputs.append(condition)
    result = graph.op("If", condition, then_branch=branches[0], else_branch=branches[1])
    ir.save(graph.model(result), tmp_path / "form.onnx")
    found = products_from_path(tmp_path / "form.onnx")
    assert found.number(Verdict.FLOAT) == 2
