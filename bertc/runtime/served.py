"""How Triton Inference Server runs a target's files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A backend of Triton Inference Server and the file it opens.

    `compiled` says that the file is made for this machine's device, so that writing it needs the device.
    """

    backend: str
    file: str = "model.onnx"
    gpu: bool = False
    compiled: bool = False


ORT_CPU = Served(backend="onnxruntime")
"""On the CPU, said aloud: with a GPU in the server, Triton would give ONNX Runtime's CUDA provider to the model."""

PYTHON = Served(backend="python", file="model.py")
"""By bertc itself in the Python backend: any artefact, texts as well as tokens, and nothing padded."""
