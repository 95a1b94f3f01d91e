"""optimum-onnx's models, by its command line, which knows dynamic INT8 alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from checkpoints import task_of
from inputs import Inputs

TASKS = {
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
}


def dynamic(checkpoint: Path, folder: Path, inputs: Inputs, level: str) -> None:
    """Export, optimize where a level is named, quantize for AVX-512 VNNI."""
    tool = Path(sys.executable).with_name("optimum-cli")

    def call(*arguments: object) -> None:
        done = subprocess.run([str(tool), *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"optimum-cli {arguments[0]} {arguments[1]}: {done.stderr.strip().splitlines()[-1]}")

    source = folder / "exported"
    call("export", "onnx", "--model", checkpoint, "--task", TASKS[task_of(checkpoint)], source)
    if level != "none":
        call("onnxruntime", "optimize", "--onnx_model", source, f"-{level}", "-o", folder / "optimized")
        source = folder / "optimized"
    per_channel = [] if level == "none" else ["--per_channel"]
    call("onnxruntime", "quantize", "--onnx_model", source, "--avx512_vnni", *per_channel, "-o", folder / "quantized")
    (model,) = (folder / "quantized").glob("*.onnx")
    model.rename(folder / "model.onnx")
    for name in ("exported", "optimized", "quantized"):
        shutil.rmtree(folder / name, ignore_errors=True)
