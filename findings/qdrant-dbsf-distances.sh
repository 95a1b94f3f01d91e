#!/usr/bin/env bash
# qdrant-client: fused by DBSF, searches by Euclid or Manhattan return the farthest first.
#
# Versions: qdrant-client 1.20.0.
# Measured: 2026-12, Python 3.11, Linux, x86-64.
# Expected: the fusion of two searches that agree has their order, whatever the distance, as by RRF.
# Seen: DBSF takes each score as one that is better when larger. Distances are smaller when better, so their order is
# turned around, in hybrid search too for what the words do not find. No error and no warning.
# Known since September 2026, open in December: qdrant/qdrant, issue 10611 (server); a mend of local mode is proposed in
# qdrant/qdrant-client, pull request 1455. What is below is local mode.
#
#   qdrant-client 1.20.0
#   guess: 0 first, 4 last; with words that find 0 and 1, in this order, 0 first
#   Cosine    alone 01234  twice by RRF 01234  twice by DBSF 01234  with words by DBSF 01234
#   Dot       alone 01234  twice by RRF 01234  twice by DBSF 01234  with words by DBSF 01234
#   Euclid    alone 01234  twice by RRF 01234  twice by DBSF 43210  with words by DBSF 01432
#   Manhattan alone 01234  twice by RRF 01234  twice by DBSF 43210  with words by DBSF 01432
#
# Matters to: hybrid search over vectors whose lengths count, and who tests in local mode with one metric and fusion
# after another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check qdrant-client==1.20.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from qdrant_client import QdrantClient, models

print(f"qdrant-client {version('qdrant-client')}")
print("guess: 0 first, 4 last; with words that find 0 and 1, in this order, 0 first")
client = QdrantClient(":memory:")
QUERY = [1.0, 0.0]
WORDS = models.SparseVector(indices=[7], values=[1.0])


def fused(name, searches, fusion):
    """Return the ids that the fusion of some searches finds, best first."""
    query = models.FusionQuery(fusion=fusion)
    return [each.id for each in client.query_points(name, prefetch=searches, query=query, limit=5).points]


found = {}
for distance in (models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID, models.Distance.MANHATTAN):
    name = distance.value
    client.create_collection(
        name,
        vectors_config={"vector": models.VectorParams(size=2, distance=distance)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    for row in range(5):
        vector = {"vector": [1.0 - 0.2 * row, 0.3 * row]}
        if row < 2:
            vector["words"] = models.SparseVector(indices=[7], values=[2.0 - 0.2 * row])
        client.upsert(name, [models.PointStruct(id=row, vector=vector)])
    alone = [each.id for each in client.query_points(name, query=QUERY, using="vector", limit=5).points]
    dense = models.Prefetch(query=QUERY, using="vector", limit=5)
    sparse = models.Prefetch(query=WORDS, using="words", limit=5)
    row = {
        "alone": alone,
        "twice by RRF": fused(name, [dense, dense], models.Fusion.RRF),
        "twice by DBSF": fused(name, [dense, dense], models.Fusion.DBSF),
        "with words by DBSF": fused(name, [dense, sparse], models.Fusion.DBSF),
    }
    found[name] = row
    print(f"{name:9}", "  ".join(f"{key} {''.join(str(each) for each in ids)}" for key, ids in row.items()))
ORDER = [0, 1, 2, 3, 4]
same = all(row["alone"] == row["twice by RRF"] == ORDER for row in found.values())
same = same and all(found[name]["twice by DBSF"] == ORDER for name in ("Cosine", "Dot"))
same = same and all(found[name]["twice by DBSF"] == ORDER[::-1] for name in ("Euclid", "Manhattan"))
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
