"""Target `ort-cpu-dynamic`: ONNX Runtime's own dynamic INT8, activations quantized by each batch's range."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import EngineOptions
from bertc.runtime.cpu import VNNI_FEATURES, check_vnni
from bertc.runtime.ort import OrtRuntime, expected_fusion
from bertc.runtime.serving import ORT_CPU
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower the float graph and let ONNX Runtime's tool quantize the encoder's weights per channel."""
    import tempfile

    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = ort.lower_graph(read_first_tokens(graph))
    head = [node.name for node in model.graph if not str(node.outputs[0].name).startswith("layer.")]
    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        source, quantized = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
        ir.save(model, source)
        with _quiet_advice():
            quantize_dynamic(
                source,
                quantized,
                op_types_to_quantize=["MatMul", "Attention"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=head,
                # Its shape inference does not see through ONNX Runtime's own operators.
                extra_options={"DefaultTensorType": int(ir.DataType.FLOAT)},
            )
        return ir.from_proto(ir.to_proto(ir.load(quantized)))


@contextmanager
def _quiet_advice() -> Iterator[None]:
    """Keep the tool's advice to pre-process off the user's screen: the graph it gets is already fused."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


TARGET = Target(
    name="ort-cpu-dynamic",
    summary="dynamic INT8 on ONNX Runtime: no calibration, answers depend on batch mates",
    runtime=OrtRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=ORT_CPU,
    precision="int8",
    note="Activations are quantized by the range of each batch, so a text's answer depends on the texts beside it.",
    demands=tuple(sorted(VNNI_FEATURES)),
    check_cpu=partial(check_vnni, runtime="ONNX Runtime"),
    packs_rows=True,
)
