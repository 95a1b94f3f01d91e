#!/usr/bin/env bash
# chromadb: add of an id that is there changes nothing and says nothing, and so does update of one that is not.
#
# Versions: chromadb 1.5.9, numpy 2.4.6.
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: add of an id that the collection has raises an error, as add of an id twice in one call does, or replaces
# the record; update of an id that it has not raises an error.
# Seen: both return as if they had done it. The old vector, text and metadata stay. upsert replaces, in the same words.
#
#   chromadb 1.5.9
#   guess: an error, or the new vector
#   twice in one call      DuplicateIDError
#   add again              no error; the vector is 1 0, the text old
#   update of another id   no error; the collection has 1 record
#   upsert                 no error; the vector is 0 1, the text new
#
# Matters to: whoever embeds a corpus anew, with another model or an INT8 engine, and adds it under the same ids: the
# search is over the old vectors with queries of the new model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check chromadb==1.5.9 numpy==2.4.6
ANONYMIZED_TELEMETRY=False venv/bin/python - <<'PYTHON'
import chromadb

print(f"chromadb {chromadb.__version__}")
print("guess: an error, or the new vector")
records = chromadb.EphemeralClient().create_collection("records")
records.add(ids=["a"], embeddings=[[1.0, 0.0]], documents=["old"])


def tried(function, **arguments):
    """Return the name of the error that a call raises."""
    try:
        function(**arguments)
    except Exception as error:
        return type(error).__name__
    return "no error"


def stored():
    """Return the vector and the text of the record."""
    record = records.get(ids=["a"], include=["embeddings", "documents"])
    return record["embeddings"][0].tolist(), record["documents"][0]


NEW = {"ids": ["a"], "embeddings": [[0.0, 1.0]], "documents": ["new"]}
twice = tried(records.add, ids=["b", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
again, (vector, text) = tried(records.add, **NEW), stored()
other, count = tried(records.update, ids=["c"], embeddings=[[0.0, 1.0]]), records.count()
upsert, (vector_after, text_after) = tried(records.upsert, **NEW), stored()
print(f"twice in one call      {twice}")
print(f"add again              {again}; the vector is {vector[0]:.0f} {vector[1]:.0f}, the text {text}")
print(f"update of another id   {other}; the collection has {count} record")
print(f"upsert                 {upsert}; the vector is {vector_after[0]:.0f} {vector_after[1]:.0f}, ", end="")
print(f"the text {text_after}")
same = again == other == "no error" and twice != "no error" and (vector, text, count) == ([1, 0], "old", 1)
raise SystemExit(0 if same and (vector_after, text_after) == ([0, 1], "new") else "the behaviour is no longer so")
PYTHON
