"""A random tagger with a CRF, under the names of each library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.fixtures import edit_json, write_tiny_bert
from tests.foreign import tensors_of, write_tensors

NAMES = {
    "pytorch-crf": ("crf.transitions", "crf.start_transitions", "crf.end_transitions"),
    "TorchCRF": ("tagger.crf.trans_matrix", "tagger.crf.start_trans", "tagger.crf.end_trans"),
    "Keras": ("crf/chain_kernel:0", "crf/left_boundary:0", "crf/right_boundary:0"),
}


def crf_scores(tags: int, seed: int = 5) -> list[np.ndarray]:
    """Return transitions, start and end, as large as the tiny model's scores, so that they change its decisions."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in ((tags, tags), (tags,), (tags,))]


def add_crf(folder: Path, library: str = "pytorch-crf", **config: Any) -> Path:
    """Put a CRF into a tagger's checkpoint, and entries into its config.json."""
    tensors = tensors_of(folder)
    scores = crf_scores(len(tensors["classifier.bias"]))
    write_tensors(folder, tensors | dict(zip(NAMES[library], scores, strict=True)))
    edit_json(folder / "config.json", **config)
    return folder


def write_tiny_crf(folder: Path, library: str = "pytorch-crf", **config: Any) -> Path:
    """Write a tiny tagger with a CRF."""
    write_tiny_bert(folder, task="token-classification", hidden=32, intermediate=64, dtype="float32")
    return add_crf(folder, library, **config)
