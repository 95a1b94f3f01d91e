"""Train a model of a family that no package index has a trained one of, from a trained BERT, to measure INT8 on it.

    python benchmarks/train_from_bert.py deberta-v2 -o OUT --teacher minilm-wnut17 --data wnut17train.conll \
        --dev emerging.dev.conll --minutes 6

The teacher is a BERT that classifies texts or tags words. DeBERTa begins as the teacher itself: its matrices under
DeBERTa's names, without its positions, whose part the embeddings of distances have to learn. ELECTRA is a BERT with
another head, which begins as the teacher's; so is DistilBERT, which has no token types either. A ModernBERT of four
layers as wide as the teacher begins with its words, and at random otherwise. Words stay as they are. All are trained,
without dropout, by the labels, the teacher's scores and its tokens' vectors; by the latter two on the texts of `--more`
as well (a file in SQuAD's form, whose contexts are cut into sentences). transformers and torch are needed. OUT is a
Hugging Face folder; the score on `--dev` is printed and lies in OUT/train_from_bert.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from train_small import OWN, SPECIAL, USUAL, WARM_UP

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.example import Example
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row, row_from_texts
from bertc.evaluate.losses import relative_error
from bertc.tasks import checked_rows, layout_from_head, task_from_name
from bertc.train.batches import steps_of_epoch
from bertc.train.examples import examples_from_rows
from bertc.train.losses import Part, part_from_examples

Tensor = torch.Tensor
LENGTH, ROWS, TEMPERATURE, SEED = 128, 16, 2.0, 0
SENTENCES = 10_000
"""Of `--more`, at random."""

RATES = {"deberta-v2": 1e-4, "distilbert": 5e-5, "electra": 5e-5, "modernbert": 6e-4}
DISTANCES_RATE = 2e-3
"""Of DeBERTa's embeddings of distances, which alone begin at random."""

DISTANCES = ("rel_embeddings", "encoder.LayerNorm")
FAINT = 0.1
"""The norm's factor of distances at first: what they add to scores then is small beside words'."""

SAME = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "pad_token_id",
    "num_labels",
    "id2label",
    "label2id",
)
"""What a configuration takes over from the BERT's."""

TABLE = "bert.embeddings.{}_embeddings.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Rows as examples."""

    rows: Sequence[Row]
    examples: Sequence[Example]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each."""
        return [example.feature.length for example in self.examples]


class Reader:
    """A model that gives scores and its tokens' vectors, which lie here from call to call."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self._states = torch.empty(0)
        model.base_model.register_forward_hook(self._keep)

    def _keep(self, _: Any, __: Any, given: Any) -> None:
        self._states = given[0]

    def __call__(self, part: Part) -> tuple[dict[str, Tensor], Tensor]:
        """Return scores, and vectors [batch, length, width]."""
        feeds = {name: part.feeds[name] for name in ("input_ids", "attention_mask")}
        return {"logits": self.model(**feeds).logits}, self._states


def text_from_rows(given: Sequence[Row], checkpoint: Checkpoint) -> Text:
    """Check and encode rows as a build does."""
    head = checkpoint.head
    task = task_from_name(head.task)
    rows = checked_rows(task, given, head, checkpoint.encoder)
    features = task.features_from_rows(rows, checkpoint.encoder, LENGTH)
    return Text(rows=rows, examples=examples_from_rows(rows, features, head))


def rows_from_path(path: Path, checkpoint: Checkpoint) -> tuple[Row, ...]:
    """Read labelled rows."""
    return dataset_from_path(path, layout=layout_from_head(checkpoint.head)).rows


def sentences_from_path(path: Path) -> list[Row]:
    """Return sentences of the contexts of a file in SQuAD's form."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    contexts = {paragraph["context"] for article in articles for paragraph in article["paragraphs"]}
    cut = (part for context in sorted(contexts) for part in re.split(r"(?<=[.!?])\s+", context.strip()))
    sentences = [sentence for sentence in cut if 3 <= len(sentence.split()) <= 60]
    return [row_from_texts(text) for text in random.sample(sentences, min(SENTENCES, len(sentences)))]


def model_like(bert: Any, family: str, **own: Any) -> Any:
    """Return a model of a family at random, with the BERT's sizes but for `own`, its labels and its kind of head."""
    same = {name: getattr(bert.config, name) for name in SAME}
    nothing = {f"{name}_token_id": None for name in ("bos", "eos", "cls", "sep")}  # usual ones may lie beyond the words
    config = transformers.AutoConfig.for_model(family, **{**same, **nothing, **own})
    kind = "Sequence" if "Sequence" in type(bert).__name__ else "Token"
    model = getattr(transformers, f"AutoModelFor{kind}Classification").from_config(config)
    words = model.get_input_embeddings().weight
    words.data.copy_(bert.get_input_embeddings().weight)
    words.requires_grad_(False)
    return model


def load(model: Any, tensors: Mapping[str, Tensor], new: Sequence[str]) -> Any:
    """Give a model all these tensors; what it has beside them has one of the `new` names."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected, unexpected
    assert all(any(part in name for part in new) for name in missing), missing
    return model


def deberta_from_bert(bert: Any) -> Any:
    """Return a DeBERTa that is a BERT without positions: what distances add to scores is small, and is to be learnt.

    Its scores are of three terms, so that they are divided by sqrt(3 d) instead of sqrt(d): W_q is multiplied by
    sqrt(3). b_q k counts twice, among words and with distances, so it is halved besides.
    """
    model = model_like(
        bert, "deberta-v2", **OWN["deberta-v2"], max_position_embeddings=LENGTH, pooler_hidden_act="tanh"
    )
    tensors = bert.state_dict()
    words, positions, types = (tensors.pop(TABLE.format(name)) for name in ("word", "position", "token_type"))
    tensors[TABLE.format("word")] = words + positions[1:33].mean(0) + types[0]
    renamed = {}
    for name, values in tensors.items():
        new = re.sub(r"self\.(query|key|value)\.", r"self.\1_proj.", name)
        new = new.replace("bert.pooler.", "pooler.").replace("bert.", "deberta.")
        factor = math.sqrt(3) / (2 if new.endswith("bias") else 1) if "query_proj" in new else 1
        renamed[new] = values * factor
    torch.nn.init.constant_(model.deberta.encoder.LayerNorm.weight, FAINT)
    return load(model, renamed, DISTANCES)


def electra_from_bert(bert: Any) -> Any:
    """Return an ELECTRA that is a BERT but for its head's GELU in the place of tanh."""
    sizes = {
        name: getattr(bert.config, name) for name in ("max_position_embeddings", "type_vocab_size", "layer_norm_eps")
    }
    model = model_like(bert, "electra", **sizes, embedding_size=bert.config.hidden_size)
    renamed = {}
    for name, values in bert.state_dict().items():
        head = name.replace("bert.pooler.dense.", "classifier.dense.")
        if "bert.pooler.dense.weight" in bert.state_dict():
            head = re.sub(r"^classifier\.(weight|bias)$", r"classifier.out_proj.\1", head)
        renamed[head.replace("bert.", "electra.")] = values
    return load(model, renamed, ())


def distilbert_from_bert(bert: Any) -> Any:
    """Return a DistilBERT that is a BERT but for its head's ReLU in the place of tanh; positions hold the type 0."""
    sizes = {"max_position_embeddings": bert.config.max_position_embeddings}
    model = model_like(
        bert, "distilbert", **sizes, hidden_dim=bert.config.intermediate_size, activation=bert.config.hidden_act
    )
    tensors = bert.state_dict()
    types = tensors.pop(TABLE.format("token_type"))
    tensors[TABLE.format("position")] = tensors[TABLE.format("position")] + types[0]
    names = {
        "bert.pooler.dense.": "pre_classifier.",
        "bert.": "distilbert.",
        "encoder.layer.": "transformer.layer.",
        "attention.self.query.": "attention.q_lin.",
        "attention.self.key.": "attention.k_lin.",
        "attention.self.value.": "attention.v_lin.",
        "attention.output.dense.": "attention.out_lin.",
        "attention.output.LayerNorm.": "sa_layer_norm.",
        "intermediate.dense.": "ffn.lin1.",
        "output.dense.": "ffn.lin2.",
        "output.LayerNorm.": "output_layer_norm.",
    }
    renamed = {}
    for name, values in tensors.items():
        new = name
        for older, newer in names.items():
            new = new.replace(older, newer)
        renamed[new] = values
    return load(model, renamed, ())


def modernbert_beside_bert(bert: Any) -> Any:
    """Return a ModernBERT of four layers as wide as a BERT, with its words."""
    layers = {"num_hidden_layers": USUAL["num_hidden_layers"], "max_position_embeddings": LENGTH}
    own = {**OWN["modernbert"], **layers, "intermediate_size": 2 * bert.config.hidden_size}
    model = model_like(bert, "modernbert", **own)
    model.classifier.load_state_dict(bert.classifier.state_dict())
    return model


STARTS = {
    "deberta-v2": deberta_from_bert,
    "distilbert": distilbert_from_bert,
    "electra": electra_from_bert,
    "modernbert": modernbert_beside_bert,
}


def train(reader: Reader, teacher: Reader, text: Text, checkpoint: Checkpoint, rate: float, seconds: float) -> int:
    """Train for so many seconds of the core, whatever else it does; returns the number of texts that were seen."""
    named = [(name, values) for name, values in reader.model.named_parameters() if values.requires_grad]
    apart = [values for name, values in named if any(part in name for part in DISTANCES)]
    others = [values for name, values in named if all(part not in name for part in DISTANCES)]
    groups = [{"params": others, "rate": rate}, {"params": apart, "rate": DISTANCES_RATE}][: 1 + bool(apart)]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    begin, seen, epoch = time.process_time(), 0, 0
    while True:
        for (order,) in steps_of_epoch(text.lengths, rows=ROWS, accumulate=1, seed=SEED, epoch=epoch):
            share = (time.process_time() - begin) / seconds
            if share >= 1:
                return seen
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * min(1.0, share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
            losses = losses_of(reader, teacher, [text.examples[place] for place in order], checkpoint)
            optimizer.zero_grad()
            torch.autograd.backward(list(losses.values()))
            torch.nn.utils.clip_grad_norm_(reader.model.parameters(), 1.0)
            optimizer.step()
            seen += len(order)
            if seen // 1600 != (seen - len(order)) // 1600:
                shown = {name: round(float(loss.detach()), 3) for name, loss in losses.items()}
                print(f"{seen} texts, {100 * share:.0f} %, losses {json.dumps(shown)}", flush=True)
        epoch += 1


def losses_of(
    reader: Reader, teacher: Reader, examples: Sequence[Example], checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """Return the losses by labels, by the teacher's scores and by its vectors."""
    head = checkpoint.head
    task = task_from_name(head.task)
    part = part_from_examples(examples, tuple(range(len(examples))), torch.device("cpu"))
    with torch.no_grad():
        wanted, vectors = teacher(part)
    scores, states = reader(part)
    outputs = sum(example.outputs for example in examples)
    losses = {
        "scores": task.logit_loss(head, scores, wanted, part, TEMPERATURE) / outputs,
        "vectors": relative_error(states, vectors)[part.mask].mean(),
    }
    labelled = sum(example.labelled for example in examples)
    if labelled:
        losses["labels"] = task.label_loss(head, scores, part) / labelled
    return losses


def score(reader: Reader, text: Text, checkpoint: Checkpoint) -> float:
    """Return the task's first metric."""
    head = checkpoint.head
    task = task_from_name(head.task)
    logits: list[Any] = [None] * len(text.rows)
    with torch.no_grad():
        for (order,) in steps_of_epoch(text.lengths, rows=2 * ROWS, accumulate=1, seed=SEED, epoch=0):
            found = reader(part_from_examples(text.examples, order, torch.device("cpu")))[0]["logits"].numpy()
            for row, place in enumerate(order):
                logits[place] = found[row, : text.lengths[place]] if found.ndim > 2 else found[row]
    features = [example.feature for example in text.examples]
    graded = task.graded(task.row_outputs(text.rows, features, {"logits": logits}, head), head)
    return round(float(task.metrics(head)[0].value(task.gold(text.rows, head), graded)), 4)


def write(reader: Reader, teacher: Path, out: Path, facts: Mapping[str, Any]) -> None:
    """Write the model with the teacher's tokenizer."""
    reader.model.save_pretrained(out)
    shutil.copyfile(teacher / "tokenizer.json", out / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": LENGTH, **SPECIAL}
    settings |= {"model_input_names": ["input_ids", "attention_mask"]}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (out / "train_from_bert.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train, evaluate and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", choices=STARTS)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--more", type=Path, help="text without labels, in SQuAD's form")
    parser.add_argument("--minutes", type=float, default=6.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    random.seed(SEED)
    checkpoint = checkpoint_from_path(given.teacher)
    kind = checkpoint.head.task.split("-")[0].title()  # Sequence or Token
    auto = getattr(transformers, f"AutoModelFor{kind}Classification")
    bert = auto.from_pretrained(given.teacher, dtype=torch.float32)
    teacher, reader = Reader(bert), Reader(STARTS[given.family](bert))
    text = text_from_rows(rows_from_path(given.data, checkpoint), checkpoint)
    if given.more is not None:
        others = text_from_rows(sentences_from_path(given.more), checkpoint)
        text = Text(rows=[*text.rows, *others.rows], examples=[*text.examples, *others.examples])
    dev = text_from_rows(rows_from_path(given.dev, checkpoint), checkpoint)
    facts = {"family": given.family, "teacher": score(teacher, dev, checkpoint)}
    facts["at_first"] = score(reader, dev, checkpoint)
    print(json.dumps(facts), flush=True)
    facts |= {"texts": len(text.rows), "minutes": given.minutes}
    facts["texts_seen"] = train(reader, teacher, text, checkpoint, RATES[given.family], 60 * given.minutes)
    facts["score"] = score(reader, dev, checkpoint)
    write(reader, given.teacher, given.out, facts)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
