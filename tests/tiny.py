"""Tiny calibrated models, random text, and short ways to run a graph: what the tests of all stages need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.collect import ranges_from_batches
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.progress import Silent
from bertc.export.ort import lower as ort
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import values_by_name
from bertc.ir.scheme import DEFAULT_SMOOTHING, Scheme, scheme_from_options
from bertc.ir.standard import standard_from_graph, write_zero_points
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.runtime.ort.inference_session import open_session
from tests.fixtures import write_tiny_bert

LAYERS = 2
OUTPUTS = {
    "sequence-classification": ("logits",),
    "text-ranking": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "feature-extraction": ("last_hidden_state", "sentence_embedding"),
    "late-interaction": ("last_hidden_state", "token_embeddings"),
    "fill-mask": ("logits",),
    "sparse-embedding": ("sentence_embedding",),
}
"""What a task's engine gives out: names that users ask for."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """A checkpoint with its float graph, random text and the calibration on it."""

    checkpoint: Checkpoint
    graph: ir.Model
    features: tuple[Feature, ...]
    table: CalibrationTable

    @property
    def batch(self) -> Batch:
        """All the text, padded."""
        return batch_from_features(self.features, range(len(self.features)))


def tiny_model(path: Path, *, head: Head | None = None, **options: Any) -> TinyModel:
    """Write, read and calibrate a random float32 BERT; `head` replaces the one that was read."""
    checkpoint = tiny_checkpoint(path, head=head, **options)
    graph = graph_from_checkpoint(checkpoint)
    features = random_features(48)
    return TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=calibrated(graph, features))


def tiny_checkpoint(path: Path, *, head: Head | None = None, **options: Any) -> Checkpoint:
    """Write and read a random float32 BERT; `head` replaces the one that was read."""
    folder = write_tiny_bert(path, **{"dtype": "float32", "layers": LAYERS} | options)
    checkpoint = checkpoint_from_path(folder, task=options.get("task"))
    return checkpoint if head is None else replace(checkpoint, head=head)


def random_features(count: int, *, seed: int = 0, shortest: int = 3, longest: int = 30) -> tuple[Feature, ...]:
    """Return texts of random tokens (no padding's id 0) and lengths, the second half of each of type 1."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(shortest, longest + 1, count)
    return tuple(
        Feature(
            input_ids=generator.integers(5, 100, length).astype(np.int64),
            token_type_ids=(np.arange(length) > length // 2).astype(np.int64),
            row=row,
        )
        for row, length in enumerate(lengths)
    )


def calibrated(
    graph: ir.Model, features: Sequence[Feature], *, exponent: float = DEFAULT_SMOOTHING
) -> CalibrationTable:
    """Calibrate in silence."""
    table = ranges_from_batches(graph, features, exponent=exponent, progress=Silent())
    return bound_table(table, {"data": "random"})


def bound_table(table: CalibrationTable, origin: Mapping[str, Any]) -> CalibrationTable:
    """Say of a table what it was observed on, as the stage `calibrate` does."""
    return replace(table, checkpoint="tiny", origin={**origin, **table.origin})


def tiny_scheme(mode: str, granularity: str | None = None, **options: Any) -> Scheme:
    """Return a scheme for two layers."""
    return scheme_from_options(mode, granularity=granularity, layers=LAYERS, **options)


def engine_scheme(scheme: Scheme) -> Scheme:
    """Return the scheme as the target ort-cpu runs it: some roles in float, GELU's output refined."""
    refined = scheme.per_channel
    return replace(scheme.without_roles(frozenset(ort.FLOAT_ROLES)), one_sided=refined, split_outliers=refined)


def quantized(model: TinyModel, scheme: Scheme, *, calibrator: str = "percentile") -> Quantized:
    """Quantize with the usual percentile."""
    return quantize_graph(model.graph, model.table, scheme, RangeMethod(calibrator=calibrator, percentile=99.99))


def run_engine(model: ir.Model, batch: Batch, names: Sequence[str]) -> list[Array]:
    """Run a lowered graph in ONNX Runtime, exactly on every CPU."""
    written = write_zero_points(model.clone())
    with open_session(ir.to_proto(written).SerializeToString(), threads=1) as engine:
        return engine.run(batch, names)


def run_values(graph: ir.Model, batch: Batch, names: Sequence[str]) -> list[Array]:
    """Run a graph as the simulator does and return any values by name, codes included."""
    import onnxruntime as ort_module

    model = standard_from_graph(graph)
    expose(model, names)
    options = ort_module.SessionOptions()
    options.graph_optimization_level = ort_module.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort_module.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[Array] = session.run(list(names), batch.feeds([value.name for value in session.get_inputs()]))
    return found


def expose(model: ir.Model, names: Sequence[str]) -> None:
    """Make inner values outputs of a model, in place."""
    values = values_by_name(model)
    for name in names:
        value = values[name]
        if value not in model.graph.outputs:
            producer = value.producer()
            assert producer is not None
            codes = producer.op_type in ("QuantizeLinear", "QLinearMatMul")
            unsigned = codes and model.graph.opset_imports.get("com.microsoft") is not None
            kind = ir.DataType.UINT8 if unsigned else ir.DataType.INT8 if codes else ir.DataType.FLOAT
            value.type = ir.TensorType(kind)
            model.graph.outputs.append(value)


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.asarray(values, np.float64) ** 2)))
