"""Make a late-interaction checkpoint of an encoder of sentences: a projection of its tokens, trained on graded pairs.

python benchmarks/train_late_interaction.py ENCODER -o FOLDER --data sts-train.csv --columns 6,7,5

The encoder stays as it is. Its tokens' vectors of both texts, as queries and as documents, are computed once, and a
matrix [128, hidden] without bias, orthogonal at first, is trained so that MaxSim correlates with the grades. FOLDER has
PyLate's layout. No checkpoint trained for retrieval is meant to come of it: it has what such a checkpoint has.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.core.feature import Feature
from bertc.data.rows import row_from_texts
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name

DIMENSIONS, LENGTH = 128, 32
SETTINGS = {
    "query_prefix": "[unused0]",
    "document_prefix": "[unused1]",
    "query_length": LENGTH,
    "document_length": 180,
    "do_query_expansion": True,
    "attend_to_expansion_tokens": False,
    "similarity_fn_name": "MaxSim",
}
ENCODER = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
WEIGHTS = "model.safetensors"
ROWS_OF_BATCH = 64


def main() -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a table of pairs with tabs and without a header")
    parser.add_argument("--columns", default="6,7,5", help="both texts and the grade, counted from 1")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = json.loads((given.encoder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    weight = np.linalg.qr(np.random.default_rng(0).normal(size=(hidden, DIMENSIONS)))[0].T
    write_folder(given.encoder, given.output, weight.astype(np.float32))
    pairs = read_pairs(given.data, [int(number) - 1 for number in given.columns.split(",")], given.pairs)
    queries, documents = states_of_pairs(given.output, [(first, second) for first, second, _ in pairs])
    grades = torch.tensor([grade for _, _, grade in pairs])
    save_weight(given.output, trained(weight, queries, documents, grades, given.epochs))


def write_folder(encoder: Path, folder: Path, weight: NDArray[np.float32]) -> None:
    """Write PyLate's layout around an encoder."""
    folder.mkdir(parents=True)
    for name in (*ENCODER, WEIGHTS):
        shutil.copyfile(encoder / name, folder / name)
    kinds = (("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]
    (folder / "1_Dense").mkdir()
    dense = {
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
        "use_residual": False,
    }
    files: dict[str, Any] = {
        "modules.json": modules,
        "config_sentence_transformers.json": SETTINGS,
        "sentence_bert_config.json": {"max_seq_length": LENGTH - 1, "do_lower_case": False},
        "1_Dense/config.json": dense,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    save_weight(folder, weight)


def save_weight(folder: Path, weight: NDArray[np.float32]) -> None:
    """Write the projection."""
    save_file({"linear.weight": np.ascontiguousarray(weight, np.float32)}, folder / "1_Dense" / WEIGHTS)


def read_pairs(path: Path, columns: list[int], count: int) -> list[tuple[str, str, float]]:
    """Read pairs with their grades, drawn from the whole file."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    chosen = np.random.default_rng(0).permutation(len(lines))[:count]
    return [(lines[i][columns[0]], lines[i][columns[1]], float(lines[i][columns[2]])) for i in chosen]


def states_of_pairs(folder: Path, pairs: list[tuple[str, str]]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the encoder's vectors of the tokens that are compared, [tokens, hidden], of queries and of documents."""
    checkpoint = checkpoint_from_path(folder)
    task = task_from_name(checkpoint.head.task)
    rows = [row_from_texts(*pair) for pair in pairs]
    features = task.features_from_rows(rows, checkpoint.encoder, checkpoint.encoder.max_length)
    interpreter = Interpreter(graph_from_checkpoint(checkpoint))
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    found: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), ROWS_OF_BATCH):
        places = order[start : start + ROWS_OF_BATCH]
        states = interpreter.run(batch_from_features(features, places))["last_hidden_state"]
        for place, state in zip(places, states, strict=True):
            found[place] = kept(features[place], state)
    every = [found[place] for place in range(len(features))]
    return every[: len(pairs)], every[len(pairs) :]


def kept(feature: Feature, state: NDArray[np.float32]) -> torch.Tensor:
    """Return the vectors of a text's tokens that are compared."""
    return torch.from_numpy(state[: feature.length][feature.detail["kept"]].copy())


def trained(
    weight: NDArray[np.float32],
    queries: list[torch.Tensor],
    documents: list[torch.Tensor],
    grades: torch.Tensor,
    epochs: int,
) -> NDArray[np.float32]:
    """Return the projection after training: 1 - Pearson's correlation of MaxSim and grades in each batch."""
    matrix = torch.nn.Parameter(torch.from_numpy(np.asarray(weight, np.float32)))
    optimizer = torch.optim.Adam([matrix], lr=1e-3)
    for epoch in range(epochs):
        losses = []
        for places in torch.randperm(len(queries)).split(ROWS_OF_BATCH):
            scores = torch.stack([max_sim(matrix, queries[i], documents[i]) for i in places.tolist()])
            loss = 1 - torch.corrcoef(torch.stack([scores, grades[places]]))[0, 1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: 1 - correlation {np.mean(losses):.4f}")
    return matrix.detach().numpy()


def max_sim(matrix: torch.Tensor, query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
    """Return the score of one pair."""
    first, second = (torch.nn.functional.normalize(states @ matrix.T, dim=-1) for states in (query, document))
    return (first @ second.T).max(dim=1).values.sum()


if __name__ == "__main__":
    main()
