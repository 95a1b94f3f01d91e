"""An open engine's memory does not grow with the shapes that it is asked."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from bertc.core.batch import batch_from_features
from bertc.core.feature import Feature
from bertc.runtime.machine.cpu import cpu_features
from bertc.targets import target_from_name
from tests.tiny import TinyModel, engine_scheme, quantized, tiny_scheme

WARM, CALLS, GROWTH_MIB = 100, 500, 12


def resident_mib() -> float:
    """Return this process's anonymous resident memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


@pytest.mark.serial
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["ort-cpu", pytest.param("openvino", marks=pytest.mark.openvino)])
def test_memory_is_flat_over_random_shapes(name: str, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    if name == "openvino":
        pytest.importorskip("openvino", reason="needs the extra openvino")
    if not cpu_features().has_vnni:
        pytest.skip("needs a CPU with VNNI")
    target, choose = target_from_name(name), random.Random(0)
    graph = quantized(tiny_classifier, engine_scheme(tiny_scheme("1"))).graph
    path = target.runtime.write_model(target.onnx_from_graph(graph), tmp_path)
    longest = tiny_classifier.batch.mask.shape[1]
    engine = target.runtime.engine_from_path(path, threads=1)
    memory = []
    for _ in range(CALLS):
        lengths = [choose.randint(2, longest) for _ in range(choose.randint(1, 40))]
        ids = [np.full(length, 5, np.int64) for length in lengths]
        texts = [Feature(input_ids=one, token_type_ids=0 * one, row=0) for one in ids]
        engine.run(batch_from_features(texts, range(len(texts))), ["logits"])
        memory.append(resident_mib())
    engine.close()
    assert max(memory[WARM:]) < max(memory[:WARM]) + GROWTH_MIB
