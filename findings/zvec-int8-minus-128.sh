#!/usr/bin/env bash
# zvec: a query in INT8 that holds a -128 has the wrong product with each document that is negative there.
#
# Versions: zvec 0.8.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: VECTOR_INT8 holds -128 to 127, and a flat index by inner product gives exact products.
# Seen: where the query is -128 and the document negative, that product is subtracted instead of added, so that the
# documents which agree with the query's strongest value fall back. A -128 of the document is right, as are all products
# of codes from -127 on, and all squared distances. No error and no warning.
#
#   zvec 0.8.0
#   guess: exact products and squared distances of codes from -128 to 127
#   IP, codes from -128 (in 100% of the queries): wrong 99%, found 63%
#   IP, codes from -127 (in 0% of the queries): wrong 0%, found 100%
#   L2, codes from -128 (in 100% of the queries): wrong 0%, found 100%
#   L2, codes from -127 (in 0% of the queries): wrong 0%, found 100%
#   query that begins with -127: {'alike': 12731.0, 'other': -12669.0}, right {'alike': 12731, 'other': -12669}
#   query that begins with -128: {'alike': -12769.0, 'other': -12769.0}, right {'alike': 12831, 'other': -12769}
#
# Matters to: search over INT8 embeddings that use the whole range, as those of sentence-transformers do; codes of -127
# to 127 are safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check zvec==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import zvec

print(f"zvec {version('zvec')}")
print("guess: exact products and squared distances of codes from -128 to 127")
SIZE, ROWS, ASKED = 384, 1000, 50
rng = np.random.default_rng(0)
vectors = rng.normal(size=(ROWS, SIZE))
wanted = vectors[:ASKED] + rng.normal(size=(ASKED, SIZE))


def answers(metric, lowest):
    """Return the share of wrong scores, and of the ten nearest that a flat index finds, for codes from `lowest`."""
    codes, queries = (np.clip(np.rint(each * 45), lowest, 127).astype(int) for each in (vectors, wanted))
    param = zvec.FlatIndexParam(metric_type=getattr(zvec.MetricType, metric))
    schema = zvec.CollectionSchema(
        name="codes", vectors=zvec.VectorSchema("code", zvec.DataType.VECTOR_INT8, SIZE, index_param=param)
    )
    store = zvec.create_and_open(path=f"{metric}{lowest}", schema=schema)
    store.insert([zvec.Doc(id=str(row), vectors={"code": code.tolist()}) for row, code in enumerate(codes)])
    store.optimize()
    wrong, found = 0, 0
    for query in queries:
        exact = codes @ query if metric == "IP" else ((codes - query) ** 2).sum(axis=1)
        truth = np.argsort(-exact if metric == "IP" else exact, kind="stable")[:10]
        answer = store.query(zvec.Query("code", vector=query.tolist()), topk=ROWS)
        wrong += sum(each.score != exact[int(each.id)] for each in answer)
        found += len({int(each.id) for each in answer[:10]} & set(truth.tolist()))
    holding = float(np.mean((queries == -128).any(axis=1)))
    return wrong / ASKED / ROWS, found / ASKED / 10, holding


seen = {}
for metric in ("IP", "L2"):
    for lowest in (-128, -127):
        seen[metric, lowest] = answers(metric, lowest)
        wrong, found, holding = seen[metric, lowest]
        print(f"{metric}, codes from {lowest} (in {holding:.0%} of the queries): wrong {wrong:.0%}, found {found:.0%}")
# one value decides: the first document agrees with the query's strongest, the second does not
store = zvec.create_and_open(
    path="pair",
    schema=zvec.CollectionSchema(
        name="pair",
        vectors=zvec.VectorSchema(
            "code", zvec.DataType.VECTOR_INT8, 32, index_param=zvec.FlatIndexParam(metric_type=zvec.MetricType.IP)
        ),
    ),
)
alike, other = [-100] + [1] * 31, [100] + [1] * 31
store.insert([zvec.Doc(id="alike", vectors={"code": alike}), zvec.Doc(id="other", vectors={"code": other})])
for first in (-127, -128):
    query = [first] + [1] * 31
    scores = {each.id: each.score for each in store.query(zvec.Query("code", vector=query), topk=2)}
    right = {name: int(np.dot(query, code)) for name, code in (("alike", alike), ("other", other))}
    print(f"query that begins with {first}: {scores}, right {right}")
same = scores["alike"] < 0 and seen["IP", -128][0] > 0.1 and not seen["IP", -127][0]
same = same and not seen["L2", -128][0] and not seen["L2", -127][0]
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
