"""ONNX Runtime's dynamic INT8: its own quantizer, on the fused graph."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from bertc.export.ort import lower as ort
from bertc.export.ort.no_rows import refuse_no_rows


def quantize_dynamically(graph: ir.Model) -> ir.Model:
    """Fuse a float graph and let ONNX Runtime's tool quantize the encoder's weights per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = ort.lower_graph(graph)
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
        return refuse_no_rows(ir.from_proto(ir.to_proto(ir.load(quantized))))


@contextmanager
def _quiet_advice() -> Iterator[None]:
    """Keep the tool's advice to pre-process off the user's screen: the graph it gets is already fused."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
