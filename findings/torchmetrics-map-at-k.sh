#!/usr/bin/env bash
# MAP@10 of one ranking: torchmetrics divides by what was found, sentence-transformers by 10 at most, trec_eval by all.
#
# Versions: torchmetrics 1.9.0, sentence-transformers 6.2.0, ranx 0.3.21, ir-measures 0.4.3, pytrec_eval-terrier 0.5.11,
# torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: one number, trec_eval's: the sum of the precisions at the relevant documents among the first 10, by the
# number of relevant documents.
# Seen: torchmetrics divides by the number of relevant documents among the first 10: one of four, at the first place, is
# 1.0, and missing the others costs nothing. sentence-transformers divides by 10 where more than 10 are relevant.
# Without a cutoff torchmetrics agrees with trec_eval.
#
#   torchmetrics 1.9.0, sentence-transformers 6.2.0, ranx 0.3.21, ir-measures 0.4.3
#   guess: one number in each row, that of trec_eval, which divides by the number of relevant documents
#   MAP@10
#   4 relevant, first and places 30 to 32  torchmetrics 1.000  sentence-transformers 0.250  ranx 0.250  ir-measures
#       0.250
#   4 relevant, places 1 to 4              torchmetrics 1.000  sentence-transformers 1.000  ranx 1.000  ir-measures
#       1.000
#   20 relevant, places 1 to 20            torchmetrics 1.000  sentence-transformers 1.000  ranx 0.500  ir-measures
#       0.500
#
# Matters to: whoever gates retrieval by RetrievalMAP(top_k=...): an engine that loses three of four documents is
# perfect.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 sentence-transformers==6.2.0 \
  ranx==0.3.21 ir-measures==0.4.3 pytrec_eval-terrier==0.5.11 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from importlib.metadata import version

import ir_measures
import ranx
import torch
from sentence_transformers.evaluation import InformationRetrievalEvaluator
from torchmetrics.retrieval import RetrievalMAP

names = ("torchmetrics", "sentence-transformers", "ranx", "ir-measures")
print(", ".join(f"{name} {version(name)}" for name in names))
print("guess: one number in each row, that of trec_eval, which divides by the number of relevant documents")
CASES = {
    "4 relevant, first and places 30 to 32": [0, 29, 30, 31],
    "4 relevant, places 1 to 4": [0, 1, 2, 3],
    "20 relevant, places 1 to 20": list(range(20)),
}
DOCUMENTS = [f"d{number:02}" for number in range(60)]
SCORES = {document: 1 - number / 100 for number, document in enumerate(DOCUMENTS)}


def measured(places):
    """Return MAP@10 by each library, where the documents at these places are relevant."""
    relevant = {DOCUMENTS[place] for place in places}
    judged, run = {"q": dict.fromkeys(relevant, 1)}, {"q": SCORES}
    truth = torch.tensor([document in relevant for document in DOCUMENTS])
    by_score = torch.tensor(list(SCORES.values()))
    indexes = torch.zeros(len(DOCUMENTS), dtype=torch.long)
    evaluator = InformationRetrievalEvaluator({"q": "q"}, dict(zip(DOCUMENTS, DOCUMENTS, strict=True)), {"q": relevant})
    evaluator.map_at_k = [10]
    ranked = [[{"corpus_id": document, "score": score} for document, score in SCORES.items()]]
    return {
        "torchmetrics": RetrievalMAP(top_k=10)(by_score, truth, indexes=indexes).item(),
        "sentence-transformers": evaluator.compute_metrics(ranked)["map@k"][10],
        "ranx": ranx.evaluate(ranx.Qrels(judged), ranx.Run(run), "map@10"),
        "ir-measures": ir_measures.calc_aggregate([ir_measures.AP @ 10], judged, run)[ir_measures.AP @ 10],
    }


print("MAP@10")
found = {}
for case, places in CASES.items():
    found[case] = {name: round(float(value), 3) for name, value in measured(places).items()}
    print(f"{case:38}", "  ".join(f"{name} {value:.3f}" for name, value in found[case].items()))
first, _, many = found.values()
same = first == {"torchmetrics": 1, "sentence-transformers": 0.25, "ranx": 0.25, "ir-measures": 0.25}
same = same and many == {"torchmetrics": 1, "sentence-transformers": 1, "ranx": 0.5, "ir-measures": 0.5}
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
