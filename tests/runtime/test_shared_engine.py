"""An engine in workers: what is handed to them, and what no longer is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.runtime.shared_engine import SharedEngine


def test_what_was_closed_hands_nothing_to_the_workers() -> None:
    begun: list[Any] = []

    def begin(*task: Any) -> SimpleNamespace:
        begun.append(task)
        return SimpleNamespace(result=lambda: [np.zeros(1, np.float32)])

    workers: Any = SimpleNamespace(count=2, threads=1, begin=begin)
    runtime: Any = object()
    ids = np.zeros((1, 3), np.int64)
    batch = Batch(input_ids=ids, token_type_ids=ids, mask=np.ones_like(ids), order=(0,))
    with SharedEngine(runtime, Path("model"), threads=1, workers=workers) as engine:
        assert len(engine.run(batch, ["logits"])) == len(begun) == 1
    with pytest.raises(InputError, match="this artefact was closed; call bertc"):
        engine.run(batch, ["logits"])
    engine.close()
    assert len(begun) == 1
