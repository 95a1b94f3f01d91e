"""Which matrix products of any ONNX file run in INT8 in ONNX Runtime on the CPU, and why the others do not.

The verdict is ONNX Runtime's own: products are given names, and the graph that it optimizes keeps them. The reasons are
rules (`product_reasons`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import onnx_ir as ir

from bertc.errors import InputError
from bertc.runtime.ort.inference_session import open_session
from bertc.runtime.ort.product_forms import form_from_nodes
from bertc.runtime.ort.product_reasons import why_broken, why_float, why_slow

MARK = re.compile(r"bertc-product-(\d+)/")

INTEGER = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm")
FLOAT = ("MatMul", "FusedMatMul", "Gemm", "FusedGemm")
WEIGHTS_ALONE = "MatMulNBits"
ROUNDS_ACTIVATIONS = 4
"""The accuracy level at which it rounds activations to INT8, in blocks as long as those of its weights."""
ATTENTION = {"QAttention": (3, 2), "Attention": (0, 5), "MultiHeadAttention": (0, 2)}
"""Of an attention node of Microsoft's: its integer products, and its float ones."""

RIGHT = {"QLinearMatMul": 3, "QGemm": 3}
"""The number of the right operand among a node's inputs, where it is not 1."""


LEFT_SIGNED = "does not match y_zero_point type UINT8"
"""What ONNX Runtime says of a QuantizeLinear of which it made the zero point unsigned, and not `output_dtype`."""


class Verdict(StrEnum):
    """What becomes of a product; `SLOW` and `BROKEN` ones are integer products as well."""

    INT8 = "int8"
    SLOW = "slow"
    BROKEN = "broken"
    FLOAT = "float"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of the file: its node's `name` and `operator`, the operator that runs it, and the verdict.

    `count` is how many products the node has (attention has several). `reason` is empty where all is well; `runs_as`
    is empty for a product that is not in the optimized graph.
    """

    name: str
    operator: str
    runs_as: str
    verdict: Verdict
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """All products of a file, in its order, with the version of ONNX Runtime and who wrote the file."""

    producer: str
    opset: int
    onnxruntime: str
    products: tuple[Product, ...]

    def number(self, *verdicts: Verdict) -> int:
        """Return how many products have one of these verdicts; all without any."""
        return sum(each.count for each in self.products if not verdicts or each.verdict in verdicts)


def products_from_path(path: Path) -> Products:
    """Let ONNX Runtime optimize a file for this CPU and judge each product in it.

    Functions of the file are written out first. Raises `InputError` for what is no ONNX file, and for one that ONNX
    Runtime cannot open.
    """
    import onnxruntime as ort
    from onnx_ir.passes.common import InlinePass

    try:
        model = ir.external_data.load_to_model(ir.load(path))
    except Exception as error:  # protobuf's, the file system's and onnx_ir's have no common class
        raise InputError(f"{path} cannot be read as an ONNX file ({type(error).__name__}: {error})") from error
    InlinePass()(model)
    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        found = [node for node in _nodes(model) if _is_product(node)]
        names = [node.name or "" for node in found]
        for number, node in enumerate(found):
            node.name = f"bertc-product-{number}/"
        marked, optimized = Path(folder) / "marked.onnx", Path(folder) / "optimized.onnx"
        ir.save(model, marked, external_data="weights")
        _optimize(path, marked, optimized, names)
        ran = _marked(ir.load(optimized))
        judged = [
            product
            for number, (node, name) in enumerate(zip(found, names, strict=True))
            for product in _products(node, name or node.outputs[0].name or "", ran.get(number))
        ]
    return Products(
        producer=f"{model.producer_name or ''} {model.producer_version or ''}".strip(),
        opset=model.opset_imports.get("", 0),
        onnxruntime=ort.__version__,
        products=tuple(judged),
    )


def _nodes(model: ir.Model) -> Iterable[ir.Node]:
    """Return all nodes, those of branches and loops too."""
    return model.graph.all_nodes()


def _is_product(node: ir.Node) -> bool:
    if node.op_type in ATTENTION:
        return True
    return node.op_type in (*INTEGER, *FLOAT, WEIGHTS_ALONE)


def _optimize(path: Path, marked: Path, optimized: Path, names: Sequence[str]) -> None:
    """Open the marked file; an error is said in terms of the one that was given."""
    try:
        open_session(marked, threads=1, optimized=optimized, exact=False).close()
    except InputError as error:
        text = MARK.sub(lambda mark: names[int(mark[1])], str(error).replace(str(marked), str(path)))
        if LEFT_SIGNED in text:
            text += (
                "; signed codes cannot pass a Transpose or Reshape since opset 21, nor the Reshape of MatMulAddFusion: "
                'quantize activations to UINT8, or open the session with disabled_optimizers=["MatMulAddFusion", '
                '"QDQPropagationTransformer"]'
            )
        raise InputError(text) from error


def _marked(optimized: ir.Model) -> dict[int, ir.Node]:
    """Return the products of the optimized graph by their number in the file."""
    found = {}
    for node in _nodes(optimized):
        number = MARK.search(node.name or "")
        if number is not None and _is_product(node):
            found[int(number[1])] = node
    return found


def _products(node: ir.Node, name: str, ran: ir.Node | None) -> Iterator[Product]:
    """Judge a node; one of attention has products of two kinds."""
    operator, runs_as = node.op_type, "" if ran is None else ran.op_type
    if node.op_type not in ATTENTION or ran is None:
        verdict, reason = _judged(node, ran)
        yield Product(name=name, operator=operator, runs_as=runs_as, verdict=verdict, count=1, reason=reason)
        return
    integer, rest = ATTENTION[node.op_type] if node.domain else (0, 2)
    if integer:
        yield Product(name=name, operator=operator, runs_as=runs_as, verdict=Verdict.INT8, count=integer, reason="")
    yield Product(
        name=name,
        operator=operator,
        runs_as=runs_as,
        verdict=Verdict.FLOAT,
        count=rest,
        reason=f"{operator} computes them in float",
    )


def _judged(node: ir.Node, ran: ir.Node | None) -> tuple[Verdict, str]:
    if ran is None:
        return Verdict.GONE, "it is not in the optimized graph: folded into another node, or equal to another product"
    if ran.op_type == WEIGHTS_ALONE:
        return Verdict.FLOAT, _weights_alone(node, ran)
    if ran.op_type not in INTEGER:
        return Verdict.FLOAT, why_float(form_from_nodes(node, ran))
    if node.op_type in FLOAT and (broken := why_broken(form_from_nodes(node, ran))):
        return Verdict.BROKEN, broken
    slow = why_slow(form_from_nodes(ran, ran, right=RIGHT.get(ran.op_type, 1)))
    return (Verdict.INT8, "") if slow is None else (Verdict.SLOW, slow)


def _weights_alone(node: ir.Node, ran: ir.Node) -> str:
    level = ran.attributes.get("accuracy_level")
    rounds = level is not None and level.as_int() == ROUNDS_ACTIVATIONS
    more = ", and rounds its activations to INT8" if rounds else ""
    if node.op_type == WEIGHTS_ALONE:
        return f"MatMulNBits has quantized weights alone; with eight bits it is hardly faster than float{more}"
    # ONNX Runtime put it there, since 1.25 for weights of one scale for all or for each column, and chose the level.
    more += "; session.qdq_matmulnbits_accuracy_level 1 does not" if rounds else ""
    return f"{why_float(form_from_nodes(node, ran))} (MatMulNBits, hardly faster than float{more})"
