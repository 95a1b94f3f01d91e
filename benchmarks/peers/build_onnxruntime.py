"""ONNX Runtime's own models: the export, the fused export, dynamic and static INT8 of its tools."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checkpoints import export_onnx
from inputs import Inputs, padded


def exported(checkpoint: Path, folder: Path, inputs: Inputs) -> None:
    """torch's export as it is."""
    export_onnx(checkpoint, folder / "model.onnx")


def fused(checkpoint: Path, folder: Path, inputs: Inputs) -> None:
    """The export with attention, skip-LayerNorm and GELU fused by onnxruntime.transformers."""
    import json

    from onnxruntime.transformers.optimizer import optimize_model

    logging.getLogger().setLevel(logging.ERROR)
    export_onnx(checkpoint, folder / "exported.onnx")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    optimized = optimize_model(
        str(folder / "exported.onnx"),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        opt_level=0,
    )
    layers = optimized.get_fused_operator_statistics()["Attention"]
    if layers != config["num_hidden_layers"]:
        raise SystemExit(f"onnxruntime.transformers fused {layers} attentions: no fair peer")
    optimized.save_model_to_file(str(folder / "model.onnx"))
    (folder / "exported.onnx").unlink()


def dynamic(checkpoint: Path, folder: Path, inputs: Inputs, source: str) -> None:
    """`quantize_dynamic`: with its defaults of the export, or per channel of the fused model."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    SOURCES[source](checkpoint, folder, inputs)
    (folder / "model.onnx").rename(folder / "source.onnx")
    best: dict[str, Any] = {
        "op_types_to_quantize": ["MatMul", "Attention"],
        "per_channel": True,
        "weight_type": QuantType.QInt8,
        "extra_options": {"DefaultTensorType": 1},
    }
    quantize_dynamic(folder / "source.onnx", folder / "model.onnx", **(best if source == "fused" else {}))
    (folder / "source.onnx").unlink()


def static(checkpoint: Path, folder: Path, inputs: Inputs, recipe: str) -> None:
    """`quantize_static` of the export, calibrated by MinMax: every operator, or the MatMuls per channel."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().setLevel(logging.ERROR)
    export_onnx(checkpoint, folder / "exported.onnx")
    quant_pre_process(str(folder / "exported.onnx"), str(folder / "ready.onnx"), skip_symbolic_shape=True)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.texts: Iterator[Any] = iter([padded([feature]) for feature in inputs.features("calibration")])

        def get_next(self) -> Any:
            return next(self.texts, None)

    best: dict[str, Any] = {"op_types_to_quantize": ["MatMul"], "per_channel": True}
    quantize_static(
        str(folder / "ready.onnx"),
        str(folder / "model.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        **(best if recipe == "matmul" else {}),
    )
    for name in ("exported.onnx", "ready.onnx"):
        (folder / name).unlink()


SOURCES = {"exported": exported, "fused": fused}
