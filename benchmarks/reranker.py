"""What INT8 does to a cross-encoder that ranks paragraphs: it is trained on SQuAD here, and built in modes 1 and 2.

    python benchmarks/reranker.py --work FOLDER [--shared ../shared] [--minutes 40] [--out FILE.json]

No index has a trained cross-encoder that is small. The encoder begins as minilm-squad's, pooler and classifier at
random. A query is a question, its texts are the paragraph that answers it and others of the same article, those that
share the question's rare words first, as BM25 finds them. It is trained by the cross entropy of the right one among
four, on one core (transformers and torch are needed). Validation is on 600 questions of the development set, each of
another paragraph, with ten texts each, by nDCG@10: right is what SQuAD says is right, though another paragraph may
answer too. The checkpoint lies in FOLDER/reranker and is not trained again if it is there.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers
from accuracy import Case, Table
from machine import run_facts

from bertc.cache.store import StageCache, default_cache_directory

TEXTS, TRAINED_TEXTS, NEAR = 10, 4, 8
"""Texts of a query; of those that are trained on; and among how many of the nearest the wrong ones are drawn."""

CALIBRATED, VALIDATED = 200, 600
"""Queries of the rows for calibration, of training text, and for validation."""

QUERIES, RATE, WARM_UP, LENGTH, SEED = 4, 1e-4, 0.06, 192, 0
"""Queries of a step, and its rate; tokens of a pair in training."""

K1, B = 1.2, 0.75
SCHEMES: Sequence[dict[str, Any]] = ({"mode": "1"}, {"mode": "2", "granularity": "channel"})
KEPT = ("metric", "samples", "reference", "reference_ci95", "engine", "drop", "drop_ci95", "agreement")
TARGETS = ("native", "ort-cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question, the paragraph that answers it, and others of its article, the nearest by BM25 first."""

    question: str
    right: str
    others: Sequence[str]


class Article:
    """The paragraphs of an article, found by a question's words: Robertson and Zaragoza (2009), with k1 and b above."""

    def __init__(self, paragraphs: Sequence[str]) -> None:
        self.paragraphs = paragraphs
        self._counts = [Counter(words(paragraph)) for paragraph in paragraphs]
        self._mean = sum(counts.total() for counts in self._counts) / len(paragraphs)
        self._in = Counter(word for counts in self._counts for word in counts)

    def nearest(self, question: str, right: str) -> list[str]:
        """Return the other paragraphs, the nearest first."""
        asked = set(words(question))

        def nearness(place: int) -> float:
            counts = self._counts[place]
            longer = K1 * (1 - B + B * counts.total() / self._mean)
            return sum(self._rareness(word) * counts[word] * (K1 + 1) / (counts[word] + longer) for word in asked)

        order = sorted(range(len(self.paragraphs)), key=lambda place: (-nearness(place), place))
        return [self.paragraphs[place] for place in order if self.paragraphs[place] != right]

    def _rareness(self, word: str) -> float:
        return math.log(1 + (len(self.paragraphs) - self._in[word] + 0.5) / (self._in[word] + 0.5))


def words(text: str) -> list[str]:
    """Return a text's words in small letters."""
    return re.findall(r"\w+", text.lower())


def queries_from_path(path: Path) -> Iterator[Query]:
    """Read the first question of each paragraph of a file in SQuAD's form; articles of few paragraphs have none."""
    for document in json.loads(path.read_text(encoding="utf-8"))["data"]:
        article = Article([paragraph["context"] for paragraph in document["paragraphs"]])
        if len(set(article.paragraphs)) < TEXTS:
            continue
        for paragraph in document["paragraphs"]:
            for asked in paragraph["qas"][:1]:
                others = article.nearest(asked["question"], paragraph["context"])
                yield Query(question=asked["question"], right=paragraph["context"], others=others[: TEXTS - 1])


def write_rows(queries: Sequence[Query], path: Path) -> None:
    """Write queries as rows, the texts of each in an order by chance."""
    with path.open("w", encoding="utf-8") as file:
        for number, query in enumerate(queries):
            texts = [query.right, *query.others]
            for text in random.sample(texts, len(texts)):
                row = {"query_id": number, "query": query.question, "passage": text, "label": int(text == query.right)}
                file.write(json.dumps(row) + "\n")


def train(model: Any, tokenizer: Any, queries: Sequence[Query], seconds: float) -> int:
    """Train for so many seconds of the core, whatever else it does; returns the number of queries that were seen."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    begin, seen, recent = time.process_time(), 0, 0.0
    model.train()
    while True:
        drawn = random.sample(queries, QUERIES)
        share = (time.process_time() - begin) / seconds
        if share >= 1:
            return seen
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
        pairs = [
            (query.question, text)
            for query in drawn
            for text in (query.right, *random.sample(query.others[:NEAR], TRAINED_TEXTS - 1))
        ]
        firsts, seconds_of_pairs = zip(*pairs, strict=True)
        feeds = tokenizer(
            list(firsts),
            list(seconds_of_pairs),
            padding=True,
            truncation="only_second",
            max_length=LENGTH,
            return_tensors="pt",
        )
        scores = model(**feeds).logits.reshape(QUERIES, TRAINED_TEXTS)
        loss = torch.nn.functional.cross_entropy(scores, torch.zeros(QUERIES, dtype=torch.int64))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += QUERIES
        recent += float(loss.detach())
        if seen % (50 * QUERIES) == 0:
            print(f"{seen} queries, {100 * share:.0f} %, loss {recent / 50:.3f}", flush=True)
            recent = 0.0


def main() -> None:
    """Train what is not there, build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--work", type=Path, required=True, help="where the trained checkpoint and the rows lie")
    parser.add_argument("--minutes", type=float, default=40.0, help="of training")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    random.seed(SEED)
    folder, squad, start = given.work / "reranker", given.shared / "data/squad", given.shared / "models/minilm-squad"
    case = Case(
        name="minilm-squad as a reranker",
        checkpoint=folder,
        training=given.work / "train.jsonl",
        validation=given.work / "dev.jsonl",
    )
    facts_file = given.work / "reranker.json"
    if not facts_file.is_file():
        given.work.mkdir(parents=True, exist_ok=True)
        queries = list(queries_from_path(squad / "train.json"))
        write_rows(random.sample(queries, CALIBRATED), case.training)
        write_rows(random.sample(list(queries_from_path(squad / "dev-v1.1.json")), VALIDATED), case.validation)
        model = transformers.BertForSequenceClassification.from_pretrained(start, num_labels=1, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(start)
        seen = train(model, tokenizer, queries, 60 * given.minutes)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        run = {"minutes": given.minutes, "queries": len(queries), "queries_seen": seen}
        facts_file.write_text(json.dumps(run) + "\n", encoding="utf-8")
    facts = {**run_facts("torch", "transformers"), "command": "python benchmarks/reranker.py"}
    facts["trained"] = json.loads(facts_file.read_text(encoding="utf-8"))
    results: list[dict[str, Any]] = []
    with StageCache(default_cache_directory()) as cache:
        for target, scheme in product(TARGETS, SCHEMES):
            found = Table(None, cache, target).built(case, folder, quantization=scheme)
            what = f"mode {' '.join(scheme.values())}"
            results.append({"target": target, "what": what} | {key: found[key] for key in KEPT})
            results[-1]["metrics"] = found["metrics"]
            print(json.dumps(results[-1]), flush=True)
            if given.out is not None:
                given.out.write_text(json.dumps({**facts, "results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
