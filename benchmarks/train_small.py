"""Train a small classifier of a family that no package index has a trained one of, to measure what INT8 does to it.

    python benchmarks/train_small.py modernbert -o OUT --teacher minilm-sst2 --data sst2/train.tsv --dev sst2/dev.tsv

Four layers of 256 channels from a random start, on one core, in the time that `--minutes` gives (transformers and torch
are needed). The teacher is a classifier in transformers' form; its tokenizer is taken, and its logits are half of the
loss. OUT is a Hugging Face folder. The accuracy on `--dev` is printed and lies in OUT/train_small.json with the
settings.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch.nn import functional

Tensor = torch.Tensor
USUAL = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 128,
}
OWN: Mapping[str, Mapping[str, Any]] = {
    "modernbert": {"intermediate_size": 512, "local_attention": 32, "global_attn_every_n_layers": 2},
    "electra": {"embedding_size": 128, "type_vocab_size": 2},
    "albert": {"embedding_size": 128},
    "mpnet": {"max_position_embeddings": 130},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 32,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "xlnet": {"d_model": 256, "n_layer": 4, "n_head": 4, "d_inner": 1024, "summary_type": "last"},
}
"""What a family's configuration has beside or instead of `USUAL`, by model type."""

SPECIAL = {f"{name.lower()}_token": f"[{name}]" for name in ("CLS", "SEP", "PAD", "UNK", "MASK")}
TEXTS = 32_000
"""Texts that the teacher reads: about three minutes of one core."""

BATCH_TOKENS = 1024
RATE, WARM_UP, TEMPERATURE, SEED = 6e-4, 0.06, 2.0, 0


def config_of(family: str, vocabulary: int, padding: int) -> Any:
    """Return the small configuration of a family."""
    own = OWN.get(family, {})
    usual = {} if family == "xlnet" else USUAL
    sizes = {**usual, **own, "vocab_size": vocabulary, "pad_token_id": padding, "num_labels": 2}
    for name in ("bos", "eos", "cls", "sep"):  # a family's usual numbers may lie beyond this vocabulary
        sizes[f"{name}_token_id"] = None
    return transformers.AutoConfig.for_model(family, **sizes)


def rows_of(path: Path) -> list[tuple[str, int]]:
    """Read label and sentence from SST-2's table."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(text, int(label)) for label, text in (line.split("\t") for line in lines)]


def batches(lengths: Sequence[int], order: Sequence[int]) -> Iterator[list[int]]:
    """Cut places into batches of about `BATCH_TOKENS`, each of texts of about one length, in random order."""
    window = 4096
    made: list[list[int]] = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda place: lengths[place])
        while near:
            count = max(1, BATCH_TOKENS // lengths[near[min(len(near), 64) - 1]])
            made.append(near[:count])
            near = near[count:]
    random.shuffle(made)
    yield from made


class Texts:
    """Encoded texts, as batches of a model. `left`: padding stands before the text."""

    def __init__(self, rows: Sequence[tuple[str, int]], tokenizer: Tokenizer, padding: int, *, left: bool) -> None:
        self.ids = [encoding.ids[:128] for encoding in tokenizer.encode_batch([text for text, _ in rows])]
        self.lengths = [len(ids) for ids in self.ids]
        self.labels = torch.tensor([label for _, label in rows])
        self.padding, self.left = padding, left

    def feeds(self, places: Sequence[int]) -> dict[str, Tensor]:
        """Return ids and mask of some texts, padded to the longest."""
        length = max(self.lengths[place] for place in places)
        ids = torch.full((len(places), length), self.padding)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(places):
            own = self.lengths[place]
            columns = slice(length - own, length) if self.left else slice(own)
            ids[row, columns] = torch.tensor(self.ids[place])
            mask[row, columns] = 1
        return {"input_ids": ids, "attention_mask": mask}


def logits_of(model: Any, texts: Texts) -> Tensor:
    """Return a model's logits of all texts."""
    found = torch.zeros(len(texts.ids), 2)
    with torch.inference_mode():
        for places in batches(texts.lengths, range(len(texts.ids))):
            found[places] = model(**texts.feeds(places)).logits
    return found


def accuracy(model: Any, texts: Texts) -> float:
    """Return the share of right answers."""
    model.eval()
    return float((logits_of(model, texts).argmax(1) == texts.labels).float().mean())


def train(model: Any, texts: Texts, teacher: Tensor, seconds: float) -> int:
    """Train for so many seconds of the core, whatever else it does; returns the number of texts that were seen."""
    begin, seen = time.process_time(), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))
    model.train()
    while True:
        order = list(range(len(texts.ids)))
        random.shuffle(order)
        for places in batches(texts.lengths, order):
            share = (time.process_time() - begin) / seconds
            if share >= 1:
                return seen
            warm = min(1.0, share / WARM_UP)
            for group in optimizer.param_groups:
                group["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * share))
            logits = model(**texts.feeds(places)).logits
            wanted = functional.softmax(teacher[places] / TEMPERATURE, dim=1)
            soft = functional.cross_entropy(logits / TEMPERATURE, wanted) * TEMPERATURE**2
            loss = 0.5 * soft + 0.5 * functional.cross_entropy(logits, texts.labels[places])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seen += len(places)


def main() -> None:
    """Train, evaluate and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", help="transformers' model type: modernbert, deberta-v2, xlnet, electra, ...")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0, help="of training, besides the teacher's")
    parser.add_argument("--texts", type=int, default=TEXTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    random.seed(SEED)
    tokenizer = Tokenizer.from_file(str(given.teacher / "tokenizer.json"))
    tokenizer.no_padding()
    padding = json.loads((given.teacher / "config.json").read_text(encoding="utf-8"))["pad_token_id"]
    rows = random.sample(rows_of(given.data), given.texts)
    begin = time.process_time()
    reader = transformers.AutoModelForSequenceClassification.from_pretrained(given.teacher, dtype=torch.float32).eval()
    teacher = logits_of(reader, Texts(rows, tokenizer, padding, left=False))
    taught = time.process_time() - begin
    left = given.family == "xlnet"  # which reads a text from the right end, where its first token is the last
    if left:
        ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = TemplateProcessing(single="$A [SEP] [CLS]", special_tokens=ids)
    config = config_of(given.family, tokenizer.get_vocab_size(), padding)
    config.id2label, config.label2id = reader.config.id2label, reader.config.label2id
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    seen = train(model, Texts(rows, tokenizer, padding, left=left), teacher, 60 * given.minutes)
    right = accuracy(model, Texts(rows_of(given.dev), tokenizer, padding, left=left))
    model.save_pretrained(given.out)
    tokenizer.save(str(given.out / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **SPECIAL}
    settings |= {"model_input_names": ["input_ids", "attention_mask"], "padding_side": "left" if left else "right"}
    (given.out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    facts = {
        "family": given.family,
        "accuracy": round(right, 4),
        "texts": given.texts,
        "texts_seen": seen,
        "seconds_of_teacher": round(taught),
        "minutes": given.minutes,
    }
    (given.out / "train_small.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
