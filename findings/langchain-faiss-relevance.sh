#!/usr/bin/env bash
# langchain's FAISS: with inner products the relevance is upside down, with COSINE it is 1 minus a squared distance.
#
# Versions: langchain-community 0.4.2, langchain-core 1.8.3, faiss-cpu 1.15.1, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: relevance is 1 for the same vector and falls with the angle; a threshold keeps the nearest; COSINE gives
# cosines.
# Seen: MAX_INNER_PRODUCT takes the product for a distance: the same vector has relevance 0 and one at 90 degrees 1, so
# a retriever with a threshold returns what has nothing to do with the question, and nothing else. COSINE searches by
# squared distances, so 60 degrees have 0, where the cosine is 0.5, and the default divides the squared distance by the
# root of 2: 0.29 there. Only relevances below 0 or above 1 are warned of.
#
#   langchain-community 0.4.2, langchain-core 1.8.3, faiss-cpu 1.15.1
#   guess: relevance is 1 for the same vector and falls with the angle, to 0 at 90 degrees or more;
#          a threshold of 0.8 keeps the nearest, whatever the strategy; COSINE gives cosines
#   EUCLIDEAN_DISTANCE relevance by angle {'0': 1.0, '30': 0.81, '60': 0.29, '90': -0.41, '120': -1.12}, kept at 0.8 or
#       more: ['0', '30']
#   COSINE             relevance by angle {'0': 1.0, '30': 0.73, '60': 0.0, '90': -1.0, '120': -2.0}, kept at 0.8 or
#       more: ['0']
#   MAX_INNER_PRODUCT  relevance by angle {'0': 0.0, '30': 0.13, '60': 0.5, '90': 1.0, '120': 0.5}, kept at 0.8 or more:
#       ['90']
#
# Matters to: whoever sets score_threshold, or carries one over from another store.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check langchain-community==0.4.2 langchain-core==1.8.3 \
  faiss-cpu==1.15.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")

from importlib.metadata import version
from math import cos, radians, sin

from langchain_community.vectorstores import FAISS
from langchain_community.vectorstores.utils import DistanceStrategy
from langchain_core.embeddings import Embeddings

print(", ".join(f"{name} {version(name)}" for name in ("langchain-community", "langchain-core", "faiss-cpu")))
print("guess: relevance is 1 for the same vector and falls with the angle, to 0 at 90 degrees or more;")
print("       a threshold of 0.8 keeps the nearest, whatever the strategy; COSINE gives cosines")


class Angles(Embeddings):
    """Vectors of length 1 at the angle that a text says."""

    def embed_query(self, text):
        angle = radians(float(text))
        return [cos(angle), sin(angle)]

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


TEXTS = ["0", "30", "60", "90", "120"]
found, kept = {}, {}
for strategy in (DistanceStrategy.EUCLIDEAN_DISTANCE, DistanceStrategy.COSINE, DistanceStrategy.MAX_INNER_PRODUCT):
    store = FAISS.from_texts(TEXTS, Angles(), distance_strategy=strategy)
    pairs = store.similarity_search_with_relevance_scores("0", k=5)
    found[strategy.name] = {document.page_content: round(float(score), 2) for document, score in pairs}
    near = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.8, "k": 5})
    kept[strategy.name] = [document.page_content for document in near.invoke("0")]
    print(f"{strategy.name:18} relevance by angle {found[strategy.name]}, kept at 0.8 or more: {kept[strategy.name]}")
inner, cosine = found["MAX_INNER_PRODUCT"], found["COSINE"]
same = inner["0"] == 0 and inner["90"] == 1 and kept["MAX_INNER_PRODUCT"] == ["90"]
same = same and cosine == {"0": 1, "30": 0.73, "60": 0, "90": -1, "120": -2}
same = same and found["EUCLIDEAN_DISTANCE"]["60"] == 0.29
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
