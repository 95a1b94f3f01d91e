#!/usr/bin/env python3
"""Train the demo model: a tiny BERT intent classifier, from scratch, on the CPU.

The script reads ``train.tsv`` and ``validation.tsv``, builds a WordPiece
vocabulary from the training text and trains a small BERT on the training rows
with token dropout, spelling noise and label smoothing.  It keeps a running
mean of the weights and writes that as a Hugging Face directory with FP16
weights.  The validation rows are only ever measured.

    python demo/train.py --data demo/data --out demo/model
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import BertConfig, BertForSequenceClassification
from transformers import logging as hf_logging

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
MAX_LENGTH = 128
BATCH = 32


@dataclass
class Rows:
    """One split: texts, their token ids without [CLS] and [SEP], label indices."""

    texts: list[str]
    ids: list[list[int]]
    labels: list[int]


def read_tsv(path: Path) -> list[tuple[str, str]]:
    """Return the (label, text) rows of a file with a ``label<TAB>text`` header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != "label\ttext":
        raise SystemExit(f"{path}: expected the header label<TAB>text")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        parts = line.split("\t")
        if len(parts) != 2 or not parts[0] or not parts[1]:
            raise SystemExit(f"{path}:{number}: expected label<TAB>text")
        rows.append((parts[0], parts[1]))
    return rows


def build_vocab(words: Counter[str], size: int) -> dict[str, int]:
    """Choose the pieces: characters, words seen twice, common beginnings and endings.

    Every tie is broken by the piece's spelling, so that the same text always
    gives the same vocabulary.
    """
    alphabet = sorted(set("".join(words)))
    pieces = dict.fromkeys(SPECIAL_TOKENS + alphabet + ["##" + c for c in alphabet])
    by_count = sorted(words, key=lambda word: (-words[word], word))
    pieces.update(dict.fromkeys(word for word in by_count if words[word] >= 2))
    parts: Counter[str] = Counter()
    for word in words:
        for cut in range(2, len(word)):
            parts[word[:cut]] += 1
        for cut in range(1, len(word) - 1):
            parts["##" + word[cut:]] += 1
    ranked = sorted(parts, key=lambda part: (-parts[part] * len(part.lstrip("#")), part))
    pieces.update(dict.fromkeys(part for part in ranked if parts[part] >= 3))
    return {piece: index for index, piece in enumerate(list(pieces)[:size])}


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """Build an uncased BERT WordPiece tokenizer from the training text."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    vocab = build_vocab(words, vocab_size)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer


def encode_text(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of one text, cut to the model's length."""
    return tokenizer.encode(text, add_special_tokens=False).ids[: MAX_LENGTH - 2]


def encode_rows(rows: list[tuple[str, str]], tokenizer: Tokenizer, names: list[str]) -> Rows:
    """Tokenize one split and map its label names to indices."""
    texts = [text for _, text in rows]
    return Rows(texts, [encode_text(text, tokenizer) for text in texts], [names.index(label) for label, _ in rows])


def make_config(vocab_size: int, names: list[str], args: argparse.Namespace) -> BertConfig:
    """Return the configuration of the tiny BERT."""
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // args.head_size,
        intermediate_size=4 * args.hidden,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout_prob=args.dropout,
        attention_probs_dropout_prob=0.1,
        classifier_dropout=0.3,
        id2label=dict(enumerate(names)),
        label2id={n: i for i, n in enumerate(names)},
        pad_token_id=PAD,
        initializer_range=0.04,
    )


def pad_batch(batch: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Add [CLS] and [SEP], pad to the longest row; return ids and attention mask."""
    rows = [[CLS, *ids[: MAX_LENGTH - 2], SEP] for ids in batch]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    return ids, (ids != PAD).long()


def misspell(text: str, rng: random.Random, rate: float) -> str:
    """Swap or delete a letter in a random share of the longer words."""
    words = text.split()
    for index, word in enumerate(words):
        if len(word) > 3 and rng.random() < rate:
            at = rng.randrange(1, len(word) - 1)
            swapped = word[at + 1] + word[at] if rng.random() < 0.5 else word[at + 1]
            words[index] = word[:at] + swapped + word[at + 2 :]
    return " ".join(words)


def drop_tokens(ids: list[int], rng: random.Random, rate: float) -> list[int]:
    """Delete or blank a random share of the tokens; never return an empty row."""
    share = rng.random() * 2 * rate
    kept = []
    for token in ids:
        if rng.random() >= share:
            kept.append(token)
        elif rng.random() < 0.5:
            kept.append(rng.choice((UNK, MASK)))
    return kept or list(ids)


def shuffled(rows: Rows, size: int, rng: random.Random) -> Iterator[list[int]]:
    """Yield row indices in random batches whose rows have similar lengths."""
    keys = [len(ids) + 6 * rng.random() for ids in rows.ids]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    yield from batches


def make_optimizer(
    model: torch.nn.Module, lr: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a linear warm-up over 10 % of the steps and a cosine decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, betas=(0.9, 0.98))
    warm = max(1, steps // 10)

    def scale(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, scale)


@torch.no_grad()
def predict(model: BertForSequenceClassification, ids: list[list[int]]) -> Tensor:
    """Return the logits of unpadded rows, in order."""
    model.eval()
    return torch.cat([model(*pad_batch(ids[start : start + 64])).logits for start in range(0, len(ids), 64)])


def accuracy(logits: Tensor, rows: Rows) -> float:
    """Return the share of rows whose largest logit is the label's."""
    return (logits.argmax(1) == torch.tensor(rows.labels)).float().mean().item()


def make_batch(
    rows: Rows, indices: list[int], tokenizer: Tokenizer, rng: random.Random, args: argparse.Namespace
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention mask and labels of an augmented training batch."""
    batch = []
    for index in indices:
        ids = rows.ids[index]
        if rng.random() < 0.5:
            ids = encode_text(misspell(rows.texts[index], rng, args.typos), tokenizer)
        batch.append(drop_tokens(ids, rng, args.drop))
    return *pad_batch(batch), torch.tensor([rows.labels[index] for index in indices])


def train_model(
    config: BertConfig, train: Rows, held_out: Rows, tokenizer: Tokenizer, args: argparse.Namespace
) -> BertForSequenceClassification:
    """Train for a fixed number of epochs; return the running mean of the weights."""
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    model = BertForSequenceClassification(config)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    steps = args.epochs * math.ceil(len(train.ids) / BATCH)
    optimizer, schedule = make_optimizer(model, args.lr, steps)
    for epoch in range(1, args.epochs + 1):
        model.train()
        total, count = 0.0, 0
        for indices in shuffled(train, BATCH, rng):
            ids, attention, labels = make_batch(train, indices, tokenizer, rng, args)
            loss = functional.cross_entropy(model(ids, attention).logits, labels, label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            mean.update_parameters(model)
            total, count = total + loss.item(), count + 1
        if epoch % 5 == 0 or epoch == args.epochs:
            score = accuracy(predict(mean.module, held_out.ids), held_out)
            print(f"epoch {epoch}/{args.epochs}: loss {total / count:.3f}, validation accuracy {score:.4f}", flush=True)
    return mean.module


def save_model(model: BertForSequenceClassification, tokenizer: Tokenizer, out: Path) -> None:
    """Write the Hugging Face directory with FP16 weights."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": MAX_LENGTH,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    config = json.loads((out / "config.json").read_text())
    config.pop("_name_or_path", None)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=here / "data", help="folder of the TSV files")
    parser.add_argument("--out", type=Path, default=here / "model", help="folder to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--head-size", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=3000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--drop", type=float, default=0.15, help="mean share of tokens dropped")
    parser.add_argument("--typos", type=float, default=0.15, help="share of words misspelt")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, measure the FP16-rounded model on the held-out rows, and save it."""
    args = parse_args()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    began = time.monotonic()
    train_rows, held_rows = (read_tsv(args.data / f"{n}.tsv") for n in ("train", "validation"))
    names = sorted({label for label, _ in train_rows})
    tokenizer = train_tokenizer([text for _, text in train_rows], args.vocab)
    train, held_out = (encode_rows(rows, tokenizer, names) for rows in (train_rows, held_rows))
    config = make_config(tokenizer.get_vocab_size(), names, args)
    print(
        f"{len(train_rows)} training rows, {len(held_rows)} held out, {len(names)} intents, "
        f"vocabulary {config.vocab_size}",
        flush=True,
    )
    model = train_model(config, train, held_out, tokenizer, args)
    save_model(model, tokenizer, args.out)
    score = accuracy(predict(model.float(), held_out.ids), held_out)
    record = {
        "validation_accuracy": round(score, 4),
        "seed": args.seed,
        "epochs": args.epochs,
        "rows": {"train": len(train_rows), "validation": len(held_rows)},
    }
    (args.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"validation accuracy {score:.4f} (FP16 weights), {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
