"""The file for ONNX Runtime's CUDA provider: its structure, and its numbers where a CPU can compute them.

ONNX Runtime's CPU provider executes FP16 by casting around its FP32 kernels, so that what is stored is rounded as on a
GPU, and what is computed is not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch
from bertc.errors import InputError
from bertc.export.ort.lower_cuda import lower_graph
from bertc.ir.interpret import Interpreter
from bertc.runtime.ort.inference_session import optimized_from_path
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, Array, TinyModel, quantized, rms, run_engine, tiny_model, tiny_scheme


def real(array: Array, batch: Batch) -> Array:
    """Leave padding out."""
    mask = batch.mask.astype(bool)
    return array[mask] if array.shape[:2] == mask.shape else array


@pytest.mark.parametrize("half, bound", [(False, 1e-6), (True, 5e-3)])
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_file_computes_what_the_float_graph_does(task: str, half: bool, bound: float, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    found = run_engine(lower_graph(model.graph, half=half), model.batch, OUTPUTS[task])
    exact = Interpreter(model.graph).run(model.batch)
    for name, values in zip(OUTPUTS[task], found, strict=True):
        error = rms(real(values - exact[name], model.batch)) / rms(real(exact[name], model.batch))
        assert error < bound and (error > 0 or not half), f"{name}: {error}"


def test_encoder_and_tables_are_fp16_and_the_head_is_not(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    lowered = lower_graph(tiny_classifier.graph, half=True)
    types = {str(name): value.dtype for name, value in lowered.graph.initializers.items()}
    encoder = {name: kind for name, kind in types.items() if name.startswith(("layer.", "encoder.", "embeddings."))}
    assert {kind for name, kind in encoder.items() if name != "embeddings.begin"} == {ir.DataType.FLOAT16}
    head = {kind for name, kind in types.items() if name.startswith("head.") and name.endswith((".weight", ".bias"))}
    assert head == {ir.DataType.FLOAT}
    assert {value.dtype for value in lowered.graph.inputs} == {ir.DataType.INT64}
    assert {value.dtype for value in lowered.graph.outputs} == {ir.DataType.FLOAT}


def test_a_layer_is_one_attention_with_lengths_and_two_fused_residuals(tiny_classifier: TinyModel) -> None:
    lowered = lower_graph(tiny_classifier.graph, half=True)
    counts = Counter(node.op_type for node in lowered.graph)
    assert counts["Attention"] == LAYERS and counts["Gelu"] == LAYERS and "Sum" not in counts
    masks = {
        node.inputs[3].name for node in lowered.graph if node.op_type == "Attention" and node.inputs[3] is not None
    }
    assert masks == {"lengths.int32"}
    assert not any(name in counts for name in ("QuantizeLinear", "DequantizeLinear", "QAttention"))


def test_onnx_runtime_keeps_what_is_fused(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    ir.save(lower_graph(tiny_classifier.graph, half=False), path)
    onnx.checker.check_model(str(path))
    found = optimized_from_path(path)
    assert found.fused["attention"] == LAYERS and found.fused["layer_norm"] == 2 * LAYERS + 1
    assert found.fused["skip_layer_norm"] == 2 * LAYERS and found.gemms_int8 == 0


def test_padding_at_the_end_does_not_matter(tiny_classifier: TinyModel) -> None:
    lowered = lower_graph(tiny_classifier.graph, half=False)
    batch = tiny_classifier.batch
    (together,) = run_engine(lowered, batch, ["logits"])
    for row in (0, 7):
        length = int(batch.mask[row].sum())
        alone = replace(
            batch,
            input_ids=batch.input_ids[row : row + 1, :length],
            token_type_ids=batch.token_type_ids[row : row + 1, :length],
            mask=batch.mask[row : row + 1, :length],
            order=(0,),
        )
        np.testing.assert_allclose(run_engine(lowered, alone, ["logits"])[0][0], together[row], atol=1e-5)


def test_a_quantized_graph_is_refused_with_the_reason(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match=r"would leave them to the CPU without a word.*this target is FP16"):
        lower_graph(quantized(tiny_classifier, tiny_scheme("2")).graph)


def test_a_weight_that_fp16_cannot_hold_is_named(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    value = model.graph.graph.initializers["layer.1.output_gemm.bias"]
    value.const_value = ir.tensor(np.full(64, 1e6, np.float32), name=value.name)
    with pytest.raises(InputError, match=r"layer\.1\.output_gemm\.bias has a value of 1e\+06, more than FP16 holds"):
        lower_graph(model.graph, half=True)
