"""How Triton Inference Server runs a target's files, or why it does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A backend of Triton Inference Server and the file it opens.

    `compiled` says that the file is made for this machine's device, so that writing it needs the device. `refusal` is
    why there is no backend: then the rest means nothing.
    """

    backend: str = ""
    file: str = "model.onnx"
    gpu: bool = False
    compiled: bool = False
    refusal: str = ""


ORT_CPU = Served(backend="onnxruntime")
"""On the CPU, said aloud: with a GPU in the server, Triton would give ONNX Runtime's CUDA provider to the model."""

OPENVINO = Served(
    refusal="Triton's OpenVINO backend has a configuration of its own, which bertc does not write; the targets on ONNX "
    "Runtime can be served"
)
