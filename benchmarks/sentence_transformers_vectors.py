"""Whether sentence-transformers opens artefacts and gives bertc's vectors: the real packages, in an environment of
their own beside bertc.

    pip install "sentence-transformers[openvino]>=6" .          # the files of the target openvino
    pip install "sentence-transformers[onnx]<6" .               # model.onnx: optimum-onnx takes no transformers 5
    python benchmarks/sentence_transformers_vectors.py openvino texts.txt OUT OUT2

For each artefact the smallest cosine of a text's two vectors, in batches of 32 texts and one by one.
Exit code 1 where one is below 0.9999.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

import bertc

LEAST = 0.9999


def cosines(folder: str, backend: str, texts: list[str], batch: int) -> np.ndarray:
    """Return the cosine of the two vectors of each text."""
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings(action="ignore"), bertc.load(folder) as engine:  # the verdict is not in question
        own = np.array([answer["embedding"] for answer in engine.predict(texts)], np.float64)
    theirs = SentenceTransformer(folder, backend=backend).encode(texts, batch_size=batch).astype(np.float64)
    return (own * theirs).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(theirs, axis=1)


def main(backend: str, source: str, *folders: str) -> int:
    """Compare every artefact; return the exit code."""
    texts = [line for line in Path(source).read_text(encoding="utf-8").splitlines() if line.strip()]
    worst = 1.0
    for folder in folders:
        for batch in (32, 1):
            found = cosines(folder, backend, texts, batch)
            worst = min(worst, found.min())
            print(f"{folder} {backend} batch {batch}: cosine at least {found.min():.6f}, mean {found.mean():.6f}")
    return int(worst < LEAST)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
