"""Checkpoints for the peers: a transformers model of any head, its ONNX export, and one with random weights."""

from __future__ import annotations

import inspect
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = {
    "sequence-classification": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
}
CLASSES = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
SIZES = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096)}
"""Hidden, layers, heads and intermediate of BERT-base and BERT-large (Devlin et al. 2018)."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def task_of(checkpoint: Path) -> str:
    """Return the task of a checkpoint by its architecture's name."""
    architectures = json.loads((checkpoint / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    for ending, task in (
        ("ForSequenceClassification", "sequence-classification"),
        ("ForTokenClassification", "token-classification"),
        ("ForQuestionAnswering", "question-answering"),
    ):
        if architectures[0].endswith(ending):
            return task
    raise SystemExit(f"{checkpoint}: the peers are compared for classifiers, taggers and question answering only")


def torch_model(checkpoint: Path, attention: str | None = None) -> Any:
    """Read a checkpoint as a float32 transformers model; `attention` is "eager" or transformers' own choice (sdpa)."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    options = {} if attention is None else {"attn_implementation": attention}
    found = getattr(transformers, CLASSES[task_of(checkpoint)])
    return found.from_pretrained(checkpoint, dtype=torch.float32, **options).eval()


def example_inputs(model: Any = None) -> dict[str, Any]:
    """Return two texts of 16 tokens for tracing: all inputs, or those that a model has (MPNet's has no types)."""
    import torch

    ids = torch.full((2, 16), 1000, dtype=torch.int64)
    found = dict(zip(INPUTS, (ids, torch.ones_like(ids), torch.zeros_like(ids)), strict=True))
    taken = found if model is None else inspect.signature(model.forward).parameters
    return {name: values for name, values in found.items() if name in taken}


def export_onnx(checkpoint: Path, out: Path) -> None:
    """Export with torch.onnx, opset 17, dynamic batch and length, attention as products and softmax."""
    import torch

    model = torch_model(checkpoint, "eager")
    names = OUTPUTS[task_of(checkpoint)]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            found = self.inner(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return tuple(found[name] for name in names)

    axes = {name: {0: "batch", 1: "sequence"} for name in INPUTS} | {name: {0: "batch"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Plain(),
            tuple(example_inputs().values()),
            str(out),
            input_names=list(INPUTS),
            output_names=list(names),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def write_random_checkpoint(size: str, like: Path, out: Path) -> None:
    """Write a checkpoint of BERT's dimensions with random weights, and head, labels and tokenizer like another's."""
    import torch
    import transformers

    hidden, layers, heads, intermediate = SIZES[size]
    given = json.loads((like / "config.json").read_text(encoding="utf-8"))
    labels = {int(number): name for number, name in given.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"}).items()}
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=given["vocab_size"],
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )
    kind = CLASSES[task_of(like)].replace("AutoModel", "Bert")
    getattr(transformers, kind)(config).save_pretrained(out)
    for name in TOKENIZER_FILES:
        if (like / name).exists():
            shutil.copyfile(like / name, out / name)
