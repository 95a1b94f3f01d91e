"""Whether bertc reads what TensorFlow writes: a checkpoint by TensorFlow itself, compared bit by bit, and built.

    python benchmarks/tensorflow_checkpoint.py [--work FOLDER] [--tensorflow tensorflow-cpu]

A virtual environment of its own gets TensorFlow (a download of 250 MB). There the demo's trained BERT is saved under
the names of Google's code by `tf.compat.v1.train.Saver`, with Adam's two slots for each weight, in one file and in two,
and TensorFlow reads it back. bertc's reader has to give the same bits for each tensor of floating-point numbers; then
`bertc build` compiles the folder and has to pass on the demo's validation data.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from machine import run_facts
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.tensorflow_file import TensorFlowFile
from bertc.cli.main import run

TASK = "sequence-classification"  # Google's names do not say whether texts or tokens are classified
DEMO = Path(__file__).resolve().parents[1] / "demo"
SLOTS = ("adam_m", "adam_v")
SHARDS = (1, 2)
WRITE = """
import json, sys
import numpy, tensorflow
tf = tensorflow.compat.v1
given, stem, back, shards = numpy.load(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
devices = [f"/device:CPU:{number}" for number in range(shards)]
config = tf.ConfigProto(device_count={"CPU": shards})
with tf.Graph().as_default(), tf.Session(config=config) as session:
    for number, name in enumerate(given.files):
        with tf.device(devices[number % shards]):
            tf.get_variable(name, initializer=given[name])
    session.run(tf.global_variables_initializer())
    tf.train.Saver(sharded=shards > 1).save(session, stem)
reader = tensorflow.train.load_checkpoint(stem)
numpy.savez(back, **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
print(tensorflow.__version__)
"""


def python_with(package: str, folder: Path) -> Path:
    """Return the interpreter of an environment that has a package; it is made where it is not there."""
    python = folder / "bin/python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", package], check=True)
    return python


def google_tensors(model: Path) -> dict[str, NDArray[Any]]:
    """Return a checkpoint's tensors under the names of Google's code, with the slots of its optimizer."""
    weights = checkpoint_from_path(model).weights
    found: dict[str, NDArray[Any]] = {"global_step": np.array(343, np.int64)}
    for name in weights:
        values, words = (
            weights.array(name),
            re.sub(r"\.layer\.", ".layer_", weights.stored_name(name)).replace(".", "/"),
        )
        for theirs, ours in (
            ("LayerNorm/weight", "LayerNorm/gamma"),
            ("LayerNorm/bias", "LayerNorm/beta"),
            ("_embeddings/weight", "_embeddings"),
            ("classifier/weight", "output_weights"),
            ("classifier/bias", "output_bias"),
        ):
            words = words.replace(theirs, ours)
        if words.endswith("/weight"):
            words, values = f"{words.removesuffix('weight')}kernel", np.ascontiguousarray(values.T)
        generator = np.random.default_rng(len(found))
        found[words] = values
        found |= {f"{words}/{slot}": generator.standard_normal(values.shape, np.float32) for slot in SLOTS}
    return found


def write_folder(folder: Path, model: Path) -> None:
    """Write bert_config.json and vocab.txt of a checkpoint in transformers' layout."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in ("model_type", "architectures")}
    (folder / "bert_config.json").write_text(json.dumps(kept, indent=2), encoding="utf-8")
    vocab = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted(vocab, key=vocab.__getitem__)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def compared(folder: Path, given: Mapping[str, NDArray[Any]], back: Mapping[str, NDArray[Any]]) -> int:
    """Return how many tensors of numbers are the same bits for bertc, for TensorFlow, and as they were given."""
    file = TensorFlowFile(folder / "bert_model.ckpt.index")
    assert set(file) == set(given) == set(back), sorted(set(file) ^ set(given) ^ set(back))
    floats = [name for name in file if file.is_float(name)]
    for name in floats:
        assert file.shape(name) == given[name].shape, name
        assert file.array(name).tobytes() == back[name].tobytes() == given[name].tobytes(), name
    return len(floats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bertc-tensorflow")
    parser.add_argument("--tensorflow", default="tensorflow-cpu", help="what pip installs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    python = python_with(options.tensorflow, options.work / "venv")
    given = google_tensors(DEMO / "model")
    np.savez(options.work / "given.npz", **given)
    data = ["--calibration-data", DEMO / "data/train.tsv", "--validation-data", DEMO / "data/validation.tsv"]
    results = []
    for shards in SHARDS:
        folder = Path(tempfile.mkdtemp(dir=options.work))
        write_folder(folder, DEMO / "model")
        back, out = folder.with_suffix(".npz"), folder.with_name(f"{folder.name}-out")
        arguments = [options.work / "given.npz", folder / "bert_model.ckpt", back, shards]
        command = [str(part) for part in (python, "-c", WRITE, *arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        same = compared(folder, given, np.load(back))
        checkpoint = checkpoint_from_path(folder, task=TASK)
        code = run([str(part) for part in ("build", folder, "--task", TASK, "-o", out, *data, "--no-cache", "-q")])
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        results.append(
            {
                "tensorflow": done.stdout.split()[-1],
                "files": sorted(path.name for path in folder.glob("bert_model.ckpt.*")),
                "equal tensors": same,
                "parameters": checkpoint.parameters,
                "left out, bytes": checkpoint.ignored_bytes,
                "notes": list(checkpoint.notes),
                "build's exit code": code,
                "accuracy": report["accuracy"],
            }
        )
    print(json.dumps({**run_facts(), "results": results}, indent=2))


if __name__ == "__main__":
    main()
