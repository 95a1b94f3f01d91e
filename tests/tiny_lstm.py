"""A random tagger with an LSTM between encoder and tags, under the names of torch.nn.LSTM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.fixtures import edit_json, write_tiny_bert
from tests.foreign import tensors_of, write_tensors
from tests.tiny_crf import add_crf

HIDDEN, WIDTH, LABELS = 32, 12, 3


def lstm_tensors(
    module: str = "bilstm.",
    *,
    inputs: int = HIDDEN,
    width: int = WIDTH,
    layers: int = 1,
    both: bool = True,
    biased: bool = True,
    seed: int = 7,
) -> dict[str, np.ndarray]:
    """Return an LSTM's tensors, large enough that the states matter."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    ends = ("", "_reverse") if both else ("",)
    for layer in range(layers):
        read = width * len(ends) if layer else inputs
        for end in ends:
            shapes = {"weight_ih": (4 * width, read), "weight_hh": (4 * width, width)}
            shapes |= {"bias_ih": (4 * width,), "bias_hh": (4 * width,)} if biased else {}
            for kind, shape in shapes.items():
                found[f"{module}{kind}_l{layer}{end}"] = (0.5 * random.standard_normal(shape)).astype(np.float32)
    return found


def write_tiny_lstm(
    folder: Path, *, emission: str = "classifier", crf: bool = True, config: dict[str, Any] | None = None, **lstm: Any
) -> Path:
    """Write a tiny tagger with an LSTM; the linear layer behind it is called `emission`."""
    write_tiny_bert(folder, task="token-classification", hidden=HIDDEN, intermediate=64, dtype="float32")
    if crf:
        add_crf(folder)
    tensors = {name: array for name, array in tensors_of(folder).items() if not name.startswith("classifier")}
    outputs = WIDTH * (1 if lstm.get("both") is False else 2)
    random = np.random.default_rng(11)
    tensors[f"{emission}.weight"] = random.standard_normal((LABELS, outputs)).astype(np.float32)
    tensors[f"{emission}.bias"] = random.standard_normal(LABELS).astype(np.float32)
    write_tensors(folder, tensors | lstm_tensors(**lstm))
    edit_json(folder / "config.json", **(config or {}))
    return folder
