#!/usr/bin/env bash
# chromadb: hnsw:space in the metadata counts only as long as no configuration is given: then cosine is L2.
#
# Versions: chromadb 1.5.9.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: metadata {"hnsw:space": "cosine"} gives cosine, and a configuration that sets something else, such as
# ef_search, adds to it; or the two are refused together.
# Seen: with any configuration for hnsw the metadata's space is stored, shown and not used: the index is L2, the best
# answer another one. get_or_create_collection of a collection that exists takes another space without a word and
# leaves it as it is. No error and no warning. The pages call the metadata's spelling the older one and do not say that
# the two exclude each other; a like report of another release is chroma-core/chroma, issue 2638.
#
#   chromadb 1.5.9
#   guess: cosine in each case; to open a collection with another space is refused
#   metadata alone           metadata {'hnsw:space': 'cosine'}
#                            space cosine  first: same direction, distances [0.0, 0.051]
#   configuration alone      metadata None
#                            space cosine  first: same direction, distances [0.0, 0.051]
#   metadata, and ef_search  metadata {'hnsw:space': 'cosine'}
#                            space l2      first: near, distances [0.25, 8.0]
#   the first opened with space ip: cosine
#   warnings about it: 0
#
# Matters to: whoever has the older spelling in code and adds ef_search or max_neighbors in the new one; thresholds on
# distances.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check chromadb==1.5.9
ANONYMIZED_TELEMETRY=False venv/bin/python - <<'PYTHON'
import warnings

import chromadb

print(f"chromadb {chromadb.__version__}")
print("guess: cosine in each case; to open a collection with another space is refused")
client = chromadb.EphemeralClient()
COSINE = {"hnsw:space": "cosine"}
CASES = {
    "metadata alone": {"metadata": COSINE},
    "configuration alone": {"configuration": {"hnsw": {"space": "cosine", "ef_search": 50}}},
    "metadata, and ef_search": {"metadata": COSINE, "configuration": {"hnsw": {"ef_search": 50}}},
}
seen = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for number, (name, options) in enumerate(CASES.items()):
        store = client.create_collection(f"case-{number}", embedding_function=None, **options)
        store.add(ids=["same direction", "near"], embeddings=[[3.0, 3.0], [1.0, 0.5]])
        answer = store.query(query_embeddings=[[1.0, 1.0]])
        first, distances = answer["ids"][0][0], [round(each, 3) for each in answer["distances"][0]]
        seen[name] = store.configuration["hnsw"]["space"], first
        print(f"{name:24} metadata {store.metadata}")
        print(f"{'':24} space {seen[name][0]:6}  first: {first}, distances {distances}")
    other = {"hnsw": {"space": "ip"}}
    again = client.get_or_create_collection("case-0", configuration=other, embedding_function=None)
print(f"the first opened with space ip: {again.configuration['hnsw']['space']}")
print(f"warnings about it: {sum('space' in str(each.message) for each in said)}")
same = seen["metadata alone"] == seen["configuration alone"] == ("cosine", "same direction")
same = same and seen["metadata, and ef_search"] == ("l2", "near") and again.configuration["hnsw"]["space"] == "cosine"
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
