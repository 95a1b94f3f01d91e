"""What INT8 does to taggers with a CRF, and with an LSTM in front of it: they are trained on WNUT-17 here, and built in
modes 1 and 2 on two targets.

    python benchmarks/crf.py --work FOLDER [--shared ../shared] [--taggers crf softmax bilstm-crf] [--out FILE.json]

No index has a trained BERT with a CRF. The encoder is minilm-wnut17's and stays; the classifier begins as its own and
the transitions at zero, and both are trained by the CRF's likelihood. With an LSTM (one layer of 128 units in both
directions, over all tokens) that and the linear layer behind it begin at random. As a control the classifier alone is
trained as long by cross entropy (transformers and torch are needed, a few minutes of one core). The epoch with the best
F1 on the development set is kept; the test set is read when the checkpoints are written. They lie in FOLDER (`crf`,
`softmax`, `bilstm-crf`), and are not trained again if they are there.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers
from accuracy import Case, Table
from machine import run_facts
from safetensors.torch import load_file, save_file

from bertc.cache.store import StageCache, default_cache_directory
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.crf import Crf
from bertc.core.example import Example
from bertc.core.head import Head
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row
from bertc.evaluate.losses import crf_loss
from bertc.tasks import checked_rows, layout_from_head, task_from_name
from bertc.train.batches import parts_of_share, steps_of_epoch
from bertc.train.examples import examples_from_rows
from bertc.train.losses import part_from_examples

Tensor = torch.Tensor
EPOCHS, ROWS, RATE, CRF_RATE, DROPOUT, SEED, LENGTH = 8, 16, 1e-4, 1e-2, 0.1, 0, 128
NAMES = ("crf.transitions", "crf.start_transitions", "crf.end_transitions")
SCHEMES: Sequence[dict[str, Any]] = ({"mode": "1"}, {"mode": "2", "granularity": "channel"})
KEPT = ("metric", "samples", "reference", "reference_ci95", "engine", "drop", "drop_ci95", "agreement")
CRF, SOFTMAX, LSTM = "crf", "softmax", "bilstm-crf"
TRAINED = (CRF, SOFTMAX, LSTM)
UNITS, LSTM_RATE = 128, 1e-3
TARGETS = ("native", "ort-cpu")


class Tagger(torch.nn.Module):
    """The scores of tags behind the encoder: of a linear layer, or of one behind an LSTM."""

    def __init__(self, classifier: torch.nn.Linear, *, lstm: bool) -> None:
        super().__init__()
        labels, hidden = classifier.weight.shape
        self.bilstm = torch.nn.LSTM(hidden, UNITS, batch_first=True, bidirectional=True) if lstm else None
        self.hidden2tag = torch.nn.Linear(2 * UNITS, labels) if lstm else copy.deepcopy(classifier)

    def forward(self, states: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return [rows, length, labels]; states: [rows, length, hidden], of which so many of each row are a text."""
        if self.bilstm is not None:
            rnn = torch.nn.utils.rnn
            packed = rnn.pack_padded_sequence(states, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
            states = rnn.pad_packed_sequence(self.bilstm(packed)[0], batch_first=True)[0]
        scores: Tensor = self.hidden2tag(states)
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights under the names of a file."""
        names = {"hidden2tag": "classifier"} if self.bilstm is None else {}
        found = {name.partition("."): values.detach().clone() for name, values in self.state_dict().items()}
        return {f"{names.get(module, module)}.{leaf}": values for (module, _, leaf), values in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Labelled rows as examples, and what the encoder says of each: [length, hidden]."""

    rows: Sequence[Row]
    examples: Sequence[Example]
    states: Sequence[Tensor]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each."""
        return [example.feature.length for example in self.examples]

    def padded(self, order: Sequence[int]) -> Tensor:
        """Return the states of some rows, [rows, length, hidden]."""
        return torch.nn.utils.rnn.pad_sequence([self.states[place] for place in order], batch_first=True)


def text_from_path(path: Path, checkpoint: Checkpoint, model: Any) -> Text:
    """Read and encode a data set, and run the encoder over it."""
    head = checkpoint.head
    task = task_from_name(head.task)
    read = dataset_from_path(str(path), layout=layout_from_head(head)).rows
    rows = checked_rows(task, read, head, checkpoint.encoder)
    features = task.features_from_rows(rows, checkpoint.encoder, LENGTH)
    examples = examples_from_rows(rows, features, head)
    lengths = [feature.length for feature in features]
    states: list[Tensor] = [torch.empty(0)] * len(rows)
    with torch.no_grad():
        for order in parts_of_share([tuple(range(len(rows)))], lengths, rank=0, world=1):
            part = part_from_examples(examples, order, torch.device("cpu"))
            for place, values in zip(order, model.base_model(**part.feeds).last_hidden_state, strict=True):
                states[place] = values[: lengths[place]].clone()
    return Text(rows=rows, examples=examples, states=states)


def head_of(head: Head, chain: Sequence[Tensor]) -> Head:
    """Return the head with the CRF as it is now."""
    if not chain:
        return head
    transitions, start, end = (values.detach().tolist() for values in chain)
    return replace(head, crf=Crf(transitions=tuple(map(tuple, transitions)), start=tuple(start), end=tuple(end)))


def f1(tagger: Tagger, head: Head, text: Text) -> float:
    """Return the F1 of whole entities."""
    task = task_from_name(head.task)
    with torch.no_grad():
        logits = [tagger(states[None], [len(states)])[0].numpy() for states in text.states]
    features = [example.feature for example in text.examples]
    outputs = task.row_outputs(text.rows, features, {"logits": logits}, head)
    return task.metrics(head)[0].value(task.gold(text.rows, head), task.graded(outputs, head))


def train(checkpoint: Checkpoint, model: Any, training: Text, dev: Text, out: Path) -> dict[str, Any]:
    """Train tagger and transitions, and write those of the epoch that is best on the development set."""
    torch.manual_seed(SEED)
    crf, lstm = out.name != SOFTMAX, out.name == LSTM
    tagger, head = Tagger(model.classifier, lstm=lstm), checkpoint.head
    rate = LSTM_RATE if lstm else RATE
    labels = len(head.labels)
    chain = [torch.zeros(shape, requires_grad=True) for shape in ((labels, labels), (labels,), (labels,)) if crf]
    groups = [{"params": tagger.parameters(), "lr": rate}] + [{"params": chain, "lr": CRF_RATE}] * crf
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    task = task_from_name(head.task)
    curve, best = [f1(tagger, head_of(head, chain), dev)], -1.0
    for epoch in range(EPOCHS):
        for (order,) in steps_of_epoch(training.lengths, rows=ROWS, accumulate=1, seed=SEED, epoch=epoch):
            part = part_from_examples(training.examples, order, torch.device("cpu"))
            states = torch.nn.functional.dropout(training.padded(order), DROPOUT)
            logits = tagger(states, [training.lengths[place] for place in order])
            if crf:
                assert part.gold is not None and part.scored is not None
                loss = crf_loss(logits, part.gold, part.scored, (chain[0], chain[1], chain[2]))
            else:
                loss = task.label_loss(head, {"logits": logits}, part)
            torch.autograd.backward(loss / sum(training.examples[place].labelled for place in order))
            optimizer.step()
            optimizer.zero_grad()
        curve.append(f1(tagger, head_of(head, chain), dev))
        print(f"{out.name}: F1 {curve[-1]:.4f} on the development set", flush=True)
        if curve[-1] > best:
            best = curve[-1]
            write(checkpoint, model, tagger, chain, out)
    return {"epochs": EPOCHS, "rate": rate, "rate_of_crf": CRF_RATE if crf else None, "dev_f1": curve}


def write(checkpoint: Checkpoint, model: Any, tagger: Tagger, chain: Sequence[Tensor], out: Path) -> None:
    """Write the model as a folder that holds the CRF under pytorch-crf's names."""
    model.save_pretrained(out)
    for file in checkpoint.files:
        if file.name != "config.json":
            shutil.copyfile(file, out / file.name)
    weights = load_file(out / "model.safetensors")
    weights = {name: values for name, values in weights.items() if not name.startswith("classifier.")}
    weights |= tagger.tensors()
    weights |= {name: values.detach().clone() for name, values in zip(NAMES, chain, strict=False)}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Train what is not there, build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--work", type=Path, required=True, help="where the trained checkpoints lie")
    parser.add_argument("--taggers", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = given.shared / "data/wnut17"
    start = checkpoint_from_path(given.shared / "models/minilm-wnut17")
    results: list[dict[str, Any]] = []
    model: Any = transformers.AutoModelForTokenClassification.from_pretrained(start.path, dtype=torch.float32).eval()
    untrained = [name for name in given.taggers if not (given.work / f"{name}.json").is_file()]
    if untrained:
        training, dev = (
            text_from_path(data / file, start, model) for file in ("wnut17train.conll", "emerging.dev.conll")
        )
        for name in untrained:
            run = train(start, model, training, dev, given.work / name)
            (given.work / f"{name}.json").write_text(json.dumps(run) + "\n", encoding="utf-8")
    trained = {name: json.loads((given.work / f"{name}.json").read_text(encoding="utf-8")) for name in given.taggers}
    facts = {**run_facts("torch", "transformers", threads=1), "command": "python benchmarks/crf.py", "trained": trained}
    with StageCache(default_cache_directory()) as cache:
        floats = [
            name for name in (*given.taggers, "as it was") if name not in (CRF, LSTM)
        ]  # whose float F1 is compared
        chains = [name for name in given.taggers if name != SOFTMAX]
        builds = [*product(chains, TARGETS, SCHEMES), *product(floats, TARGETS[:1], SCHEMES[:1])]
        for name, target, scheme in builds:
            checkpoint = start.path if name == "as it was" else given.work / name
            case = Case(
                name=name,
                checkpoint=checkpoint,
                training=data / "wnut17train.conll",
                validation=data / "emerging.test.annotated",
            )
            found = Table(None, cache, target).built(case, checkpoint, quantization=scheme)
            what = f"mode {' '.join(scheme.values())}"
            results.append({"checkpoint": name, "target": target, "what": what} | {key: found[key] for key in KEPT})
            print(json.dumps(results[-1]), flush=True)
            if given.out is not None:
                given.out.write_text(json.dumps({**facts, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
