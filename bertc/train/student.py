"""From a checkpoint to what is trained, and back: the teacher, the student, its weights and its calibration table.

What comes back goes into the ordinary build, which gives the scales and codes that were trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint
from bertc.errors import InputError
from bertc.export.embeddings import TABLES
from bertc.graph.encoder import graph_from_checkpoint, parameters_from_checkpoint
from bertc.ir.affine import CODE_MAX
from bertc.ir.emit import array_of
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Site, site_from_name
from bertc.quantize.insert import TIES, quantize_graph
from bertc.quantize.smooth import smooth_graph, unsmoothed_weights
from bertc.tasks import task_from_name
from bertc.train.network import Network
from bertc.train.start import table_of_start, weights_of_start

Array = NDArray[np.float32]
SCALE = ".scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The network that is trained, and what it was made from; without a scheme it is a float one."""

    network: Network
    checkpoint: Checkpoint
    table: CalibrationTable | None
    scheme: Scheme | None


def check_trainable(checkpoint: Checkpoint) -> None:
    """Raise an `InputError` for a model whose graph has weights only in what was computed of them, or not all."""
    architecture = checkpoint.architecture
    if architecture.relative_embeddings is not None or architecture.relative_sinusoids is not None:
        raise InputError(
            f"{checkpoint.path}: bertc does not train models with embeddings of distances (DeBERTa, XLNet); fine-tune "
            "it with transformers, and build from what that saves"
        )
    if architecture.shared_heads > 1:
        raise InputError(
            f"{checkpoint.path}: bertc does not train models whose heads share keys and values, since it computes a "
            "copy of those for each; fine-tune it with transformers, and build from what that saves"
        )
    if checkpoint.head.lstm is not None:
        raise InputError(
            f"{checkpoint.path}: bertc does not train taggers with an LSTM, which reads what the encoder gives; train "
            "it where it was made, and build from what that saves"
        )
    if task_from_name(checkpoint.head.task).token_scores:
        raise InputError(
            f"{checkpoint.path}: bertc does not train masked language models, whose last matrix is the embedding "
            "table; fine-tune it with transformers, and build from what that saves"
        )


def teacher_from_checkpoint(checkpoint: Checkpoint) -> Network:
    """Return the float network of a checkpoint, for evaluation only: without gradients.

    Raises `InputError` for a model that bertc does not train.
    """
    check_trainable(checkpoint)
    graph = graph_from_checkpoint(checkpoint)
    return Network(graph, weights=parameters_from_checkpoint(checkpoint)).eval().requires_grad_(False)


def student_from_checkpoint(
    checkpoint: Checkpoint,
    *,
    table: CalibrationTable | None,
    scheme: Scheme | None,
    method: RangeMethod,
    learned_scales: bool,
    masks: Mapping[str, NDArray[np.bool_]] | None,
) -> Student:
    """Return a checkpoint's Q/DQ network under a scheme, starting from the calibrated table; its float one without.

    With one scale per tensor it starts from ranges and weights without outliers (train/start.py), unless the table was
    trained; fixed scales stay the table's. It reads the embedding tables as an INT8 engine stores them, which matters
    more than all other arithmetic that an engine does its own way (docs/decisions/0008-embeddings-as-stored.md).

    `masks` (by initializer name, [in, out]) keep pruned weights at zero. Raises `InputError` for a scheme without a
    table, for a table or a mask that does not belong to the checkpoint, and for a model that bertc does not train.
    """
    check_trainable(checkpoint)
    graph, weights = graph_from_checkpoint(checkpoint), parameters_from_checkpoint(checkpoint)
    if scheme is None:
        network = Network(graph, weights=weights)
    elif table is None:
        raise InputError("quantization-aware training starts from calibrated ranges; give a calibration table")
    else:
        quantized = quantize_graph(graph, table, scheme, method)
        floats = {
            str(value.name): array_of(value) for value in smooth_graph(graph, table, scheme).graph.initializers.values()
        }
        if not scheme.per_channel and not table.origin.get("trained"):
            if learned_scales:
                start = table_of_start(table, scheme, quantized.scales)
                quantized = quantize_graph(graph, start, scheme, method)
            codes = {str(value.name) for value in quantized.graph.graph.initializers.values() if _holds_codes(value)}
            floats |= {name: weights_of_start(floats[name]) for name in codes & floats.keys()}
        network = Network(
            quantized.graph,
            weights=weights,
            floats=floats,
            learned_scales=learned_scales,
            ties=_ties(scheme, 1 + max(site.layer for site in table.sites)),
            stored=TABLES.keys(),
        )
    assert network.initializer_parameters().keys() == weights.keys()
    network.set_masks(masks or {})
    return Student(network=network, checkpoint=checkpoint, table=table, scheme=scheme)


def _holds_codes(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.INT8


def _ties(scheme: Scheme, layers: int) -> list[list[str]]:
    """Return the initializers that have one common scale: weights, and scales of values."""
    groups = _tied_sites(scheme, layers)
    return [[f"{site}{ending}" for site in group] for group in groups for ending in (".weight", SCALE)]


def _tied_sites(scheme: Scheme, layers: int) -> list[list[Site]]:
    if not scheme.tie_qkv:
        return []
    return [[Site(layer, role) for role in group] for layer in range(layers) for group in TIES]


def weights_from_student(student: Student) -> dict[str, Array]:
    """Return the student's weights as the tensors of its checkpoint, by tensor name: masked, without smoothing."""
    network = student.network
    with torch.no_grad():
        weights = {name: network.masked_weight(name).cpu().numpy() for name in network.initializer_parameters()}
    if student.table is not None and student.scheme is not None:
        graph = graph_from_checkpoint(student.checkpoint)
        weights = unsmoothed_weights(graph, weights, student.table, student.scheme)
    tensors: dict[str, Array] = {}
    for name, parameter in parameters_from_checkpoint(student.checkpoint).items():
        tensors |= parameter.tensors(weights[name])
    return tensors


def table_from_student(student: Student, *, checkpoint_digest: str) -> CalibrationTable:
    """Return the calibration table of the trained checkpoint: the scalar ranges it was trained with, as overrides.

    Ranges per column and the smoothing factors stay the table's. Raises `InputError` for a student without a scheme.
    """
    if student.table is None or student.scheme is None:
        raise InputError("a student without INT8 has no ranges; calibrate the trained checkpoint")
    scales: dict[Site, float] = {}
    with torch.no_grad():
        for name in student.network.scale_names():
            scale = student.network.scale(name)
            if not scale.ndim:
                scales[site_from_name(name.removesuffix(SCALE))] = float(scale)
    layers = 1 + max((site.layer for site in scales), default=-1)
    for group in _tied_sites(student.scheme, layers):
        # A site that stays in float still counts in its group's common range.
        scales |= {site: scale for scale in _first(scales, group) for site in group}
    overrides = {site: scale * CODE_MAX for site, scale in scales.items()}
    return replace(
        student.table,
        checkpoint=checkpoint_digest,
        origin={**student.table.origin, "trained": True},
        overrides={**student.table.overrides, **overrides},
    )


def _first(scales: Mapping[Site, float], group: Sequence[Site]) -> list[float]:
    return [scales[site] for site in group if site in scales][:1]
