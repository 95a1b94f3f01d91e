#!/usr/bin/env bash
# nDCG and MRR of a model that scores every document alike: 0 or 1, by library, by measure and by a document's name.
#
# Versions: ranx 0.3.21, ir-measures 0.4.3, pytrec_eval-terrier 0.5.11, scikit-learn 1.9.1, sentence-transformers 6.2.0,
# torch 2.13.0, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: a model that scores all documents alike is no better than chance, wherever the relevant one stands; within a
# library all measures see one order, so that RR@10 is never above RR; libraries agree on the same scores.
# Seen: ir-measures gives RR 0.05 and RR@10 1: RR, AP and nDCG put ties in the order of falling names, as trec_eval
# does, RR with a cutoff in that of rising names. InformationRetrievalEvaluator has rising names; ranx has what numba's
# sorting leaves, CrossEncoderRerankingEvaluator's MRR what numpy's does, while its nDCG and AP share ties, as
# scikit-learn's. Scores as far apart as 0.5 and 0.5 + 1e-9 are equal to trec_eval, not to the others.
#
#   ranx 0.3.21, ir-measures 0.4.3, scikit-learn 1.9.1, sentence-transformers 6.2.0
#   guess: the same number in all columns of nDCG@10, and of MRR@10; the relevant document's name changes nothing
#   20 documents d00 to d19, all scored 0.5; relevant is    d00    d10    d19
#   ranx                            ndcg@10               0.000  0.301  0.000
#   ranx                            mrr@10                0.000  0.111  0.000
#   ir-measures                     nDCG@10               0.000  0.289  1.000
#   ir-measures                     RR                    0.050  0.100  1.000
#   ir-measures                     RR@10                 1.000  0.000  0.000
#   scikit-learn                    ndcg_score(k=10)      0.227  0.227  0.227
#   CrossEncoderRerankingEvaluator  ndcg@10               0.227  0.227  0.227
#   CrossEncoderRerankingEvaluator  mrr@10                0.000  0.100  1.000
#   InformationRetrievalEvaluator   cosine_ndcg@10        1.000  0.000  0.000
#   two documents, 0.5 and 0.5 + 1e-9 for the relevant one: nDCG@10 0.631 in ir-measures, 1.000 in ranx
#
# Matters to: whoever gates a reranker or embeddings by these. Ties are common with binary and INT8 embeddings and where
# a sigmoid saturates, a broken engine has nothing else, and files often have the relevant document first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check ranx==0.3.21 ir-measures==0.4.3 \
  pytrec_eval-terrier==0.5.11 scikit-learn==1.9.1 sentence-transformers==6.2.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import logging
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from importlib.metadata import version

import ir_measures
import numpy as np
import ranx
import torch
from ir_measures import RR, nDCG
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.evaluation import InformationRetrievalEvaluator
from sklearn.metrics import ndcg_score

names = ("ranx", "ir-measures", "scikit-learn", "sentence-transformers")
print(", ".join(f"{name} {version(name)}" for name in names))
print("guess: the same number in all columns of nDCG@10, and of MRR@10; the relevant document's name changes nothing")
DOCUMENTS = [f"d{number:02}" for number in range(20)]


class Card:
    """Takes what an evaluator writes of a model."""

    def set_evaluation_metrics(self, *args, **kwargs):
        pass


class Reranker:
    """Scores all pairs alike."""

    model_card_data = Card()

    def predict(self, pairs, **kwargs):
        return np.full(len(pairs), 0.5, np.float32)


class Embedder:
    """Gives all texts one vector."""

    model_card_data = Card()
    similarity_fn_name = "cosine"

    def similarity(self, queries, documents):
        return torch.full((len(queries), len(documents)), 0.5)

    def encode(self, texts, **kwargs):
        return torch.ones(len(texts), 4)

    encode_query = encode_document = encode


def measured(relevant):
    """Return each library's measures of equal scores, where one document is relevant."""
    judged, run = {"q": {relevant: 1}}, {"q": dict.fromkeys(DOCUMENTS, 0.5)}
    of_ranx = ranx.evaluate(ranx.Qrels(judged), ranx.Run(run), ["ndcg@10", "mrr@10"])
    of_trec = ir_measures.calc_aggregate([nDCG @ 10, RR, RR @ 10], judged, run)
    truth = [document == relevant for document in DOCUMENTS]
    sample = {"query": "q", "positive": [relevant], "documents": DOCUMENTS}
    reranked = CrossEncoderRerankingEvaluator([sample], always_rerank_positives=False)(Reranker())
    corpus = {document: document for document in DOCUMENTS}
    retrieved = InformationRetrievalEvaluator({"q": "q"}, corpus, {"q": {relevant}})(Embedder())
    yield "ranx", "ndcg@10", of_ranx["ndcg@10"]
    yield "ranx", "mrr@10", of_ranx["mrr@10"]
    yield "ir-measures", "nDCG@10", of_trec[nDCG @ 10]
    yield "ir-measures", "RR", of_trec[RR]
    yield "ir-measures", "RR@10", of_trec[RR @ 10]
    yield "scikit-learn", "ndcg_score(k=10)", ndcg_score([truth], [[0.5] * len(truth)], k=10)
    yield "CrossEncoderRerankingEvaluator", "ndcg@10", reranked["ndcg@10"]
    yield "CrossEncoderRerankingEvaluator", "mrr@10", reranked["mrr@10"]
    yield "InformationRetrievalEvaluator", "cosine_ndcg@10", retrieved["cosine_ndcg@10"]


PLACES = ("d00", "d10", "d19")
print("20 documents d00 to d19, all scored 0.5; relevant is    " + "    ".join(PLACES))
found = {}
for row in zip(*(measured(place) for place in PLACES), strict=True):
    library, measure, _ = row[0]
    found[library, measure] = [float(value) for _, _, value in row]
    print(f"{library:31} {measure:20}  " + "  ".join(f"{value:5.3f}" for value in found[library, measure]))
judged, run = {"q": {"a": 1}}, {"q": {"a": 0.5 + 1e-9, "b": 0.5}}
close = ir_measures.calc_aggregate([nDCG @ 10], judged, run)[nDCG @ 10]
apart = ranx.evaluate(ranx.Qrels(judged), ranx.Run(run), "ndcg@10")
print(
    f"two documents, 0.5 and 0.5 + 1e-9 for the relevant one: nDCG@10 {close:.3f} in ir-measures, {apart:.3f} in ranx"
)
same = found["ir-measures", "nDCG@10"][::2] == [0, 1] and found["ir-measures", "RR@10"][::2] == [1, 0]
same = same and found["ir-measures", "RR@10"][0] > found["ir-measures", "RR"][0]
same = same and found["InformationRetrievalEvaluator", "cosine_ndcg@10"][::2] == [1, 0]
same = same and len(set(found["CrossEncoderRerankingEvaluator", "mrr@10"])) == 3
same = same and len(set(found["CrossEncoderRerankingEvaluator", "ndcg@10"])) == 1 and close < 0.7 and apart == 1
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
