"""Two processes train as one does: the same global batches, the loss weighted by the units of the whole step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertc.errors import EnvironmentLackError
from bertc.recipe import Recipe
from bertc.train.distributed import joined_processes
from tests.artefacts import PathOf
from tests.fixtures import write_tiny_bert
from tests.train.runs import recipe_of, run, weights_of

RUN = """
import json, sys
from pathlib import Path
from bertc.recipe import recipe_from_document
from tests.train.runs import run
run(recipe_from_document(json.loads(sys.argv[1]), "test"), Path(sys.argv[2]))
"""


def run_two(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Train with two processes on this machine, with the environment that torchrun gives them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, recipe.model_dump_json(), str(out)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    report: dict[str, Any] = json.loads((out / "training.json").read_text(encoding="utf-8"))
    return report


def differences(one: dict[str, Any], two: dict[str, Any], step: int) -> dict[str, float]:
    """Return how far the losses of one look are apart."""
    ours, theirs = one["curve"][step], two["curve"][step]
    assert ours.keys() == theirs.keys() and ours["step"] == theirs["step"] == step
    losses = [name for name in ours if name.startswith("train_")]
    return {name: abs(ours[name] - theirs[name]) for name in losses}


@pytest.mark.slow
@pytest.mark.parametrize(("quantize", "steps", "bounds"), [(False, 50, (1e-5, 1e-3)), (True, 10, (1e-3, 3e-2))])
def test_two_processes_train_as_one(
    tmp_path: Path, checkpoint_of: PathOf, data_of: PathOf, quantize: bool, steps: int, bounds: tuple[float, float]
) -> None:
    """In float but for rounding; in INT8 a value on the edge of two codes may become either."""
    task = "token-classification"
    recipe = recipe_of(
        checkpoint_of(task),
        data_of(task),
        teacher=str(write_tiny_bert(tmp_path / "teacher", task=task, seed=5)),
        quantize=quantize,
        steps=steps,
        evaluations=steps,
        held_out=2,  # 46 rows are left: of the last batch of each epoch one process has no share
        accumulate=2,
        labels=0.5,
        distill={"logits": 1.0, "hidden": 1.0, "attention": 1.0},
    )
    one, two = run(recipe, tmp_path / "one"), run_two(recipe, tmp_path / "two")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["sentences"] == two["sentences"] and len(one["curve"]) == len(two["curve"]) == steps + 1
    assert max(differences(one, two, 1).values()) < bounds[0]
    assert max(max(differences(one, two, step).values()) for step in range(1, steps + 1)) < bounds[1]
    before, after = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(np.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_alone_is_a_group_of_one() -> None:
    with joined_processes("cpu") as processes:
        assert (processes.rank, processes.world, processes.writes) == (0, 1, True)
        assert processes.first("x") == "x" and processes.gathered(2) == [2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(EnvironmentLackError, match="no CUDA device"), joined_processes("cuda"):
        raise AssertionError
