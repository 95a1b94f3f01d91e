"""A model file that a program other than bertc opens: with the options that bertc names it gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.runtime.engine import Engine
from bertc.targets import target_from_name
from tests.tiny import TinyModel, quantized, tiny_scheme

pytestmark = pytest.mark.openvino


@pytest.fixture
def openvino() -> Any:
    """The library itself."""
    return pytest.importorskip("openvino", reason="needs the extra openvino")


def written(model: TinyModel, folder: Path, target: str = "openvino") -> Path:
    """Write a tiny INT8 model."""
    found = target_from_name(target)
    return found.runtime.write_model(found.onnx_from_graph(quantized(model, tiny_scheme("1")).graph), folder)


def test_the_named_options_give_the_validated_answers(
    openvino: Any, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    path, runtime = written(tiny_classifier, tmp_path), target_from_name("openvino").runtime
    compiled = openvino.Core().compile_model(path, "CPU", dict(runtime.options))
    batch = tiny_classifier.batch
    feeds = batch.feeds([value.any_name for value in compiled.inputs])
    engine: Engine = runtime.engine_from_path(path, threads=1)
    (ours,) = engine.run(batch, ["logits"])
    engine.close()
    np.testing.assert_allclose(compiled(feeds)["logits"], ours, atol=1e-5)


def test_the_file_alone_switches_off_the_rounding_of_float_activations(
    openvino: Any, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    compiled = openvino.Core().compile_model(written(tiny_classifier, tmp_path), "CPU")
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


def test_a_file_without_it_has_openvinos_own_choice(openvino: Any, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    core, path = openvino.Core(), written(tiny_classifier, tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("runtime_options", "other"), encoding="utf-8")
    assert core.compile_model(path, "CPU").get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") > 0


def test_each_target_names_its_precision() -> None:
    named = {name: target_from_name(name).runtime.options for name in ("openvino", "openvino-bf16", "ort-cpu")}
    assert named["openvino"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert named["openvino-bf16"]["INFERENCE_PRECISION_HINT"] == "bf16"
    assert named["ort-cpu"] == {"session.x64quantprecision": "1"}
