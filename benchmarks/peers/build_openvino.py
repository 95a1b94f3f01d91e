"""OpenVINO's own models: the torch model converted, and quantized by NNCF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checkpoints import example_inputs, export_onnx, torch_model
from inputs import Inputs, padded

FILE = "openvino_model.xml"


def converted(checkpoint: Path, folder: Path, inputs: Inputs) -> None:
    """openvino.convert_model of the torch model."""
    import openvino

    openvino.save_model(_model(checkpoint, folder, None), folder / FILE, compress_to_fp16=False)


def quantized(checkpoint: Path, folder: Path, inputs: Inputs, preset: str, attention: str | None = None) -> None:
    """nncf.quantize with the transformer's model type; `attention` "eager" goes through an ONNX export."""
    import nncf
    import openvino

    names: dict[str, Any] = {"performance": {"preset": nncf.QuantizationPreset.PERFORMANCE}, "default": {}}
    source = _model(checkpoint, folder, attention)
    names_of_inputs = [value.any_name for value in source.inputs]
    feeds = (padded([feature]) for feature in inputs.features("calibration"))
    texts = [{name: values[name] for name in names_of_inputs} for values in feeds]
    model = nncf.quantize(
        source,
        nncf.Dataset(texts),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(texts),
        **names[preset],
    )
    openvino.save_model(model, folder / FILE, compress_to_fp16=False)


def _model(checkpoint: Path, folder: Path, attention: str | None) -> Any:
    import openvino

    if attention == "eager":
        export_onnx(checkpoint, folder / "exported.onnx")
        model = openvino.Core().read_model(folder / "exported.onnx")
        (folder / "exported.onnx").unlink()
        return model
    source = torch_model(checkpoint)
    examples = example_inputs(source)
    model = openvino.convert_model(source, example_input=examples)
    for value, name in zip(model.inputs, examples, strict=True):
        if value.any_name != name:
            raise SystemExit(f"openvino.convert_model named an input {value.any_name}, not {name}")
    return model
