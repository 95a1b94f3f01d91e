"""Run any graph of the compiler as it stands: the interpreter of calibration and the simulator of every scheme.

ONNX Runtime executes it with all graph optimizations off: at its default level it would fuse a Q/DQ graph into INT8
kernels, and the simulator would no longer be the reference of what the scheme means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.features import Feature
from bertc.graph.sites import Role, Site
from bertc.graph.standard import standard_from_graph

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Features padded on the right to one length: int64 [batch, length], mask 1 for a token."""

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    order: tuple[int, ...]
    """The features' places in the caller's sequence."""

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.order)

    def feeds(self, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the inputs a session asks for."""
        every = {"input_ids": self.input_ids, "attention_mask": self.mask, "token_type_ids": self.token_type_ids}
        return {name: every[name] for name in names}


def batch_from_features(features: Sequence[Feature], order: Sequence[int]) -> Batch:
    """Pad the features at `order` to the longest of them. Padding has id 0, which the mask hides."""
    length = max(features[place].length for place in order)
    shape = (len(order), length)
    ids, types, mask = (np.zeros(shape, np.int64) for _ in range(3))
    for row, place in enumerate(order):
        feature = features[place]
        ids[row, : feature.length] = feature.input_ids
        types[row, : feature.length] = feature.token_type_ids
        mask[row, : feature.length] = 1
    return Batch(input_ids=ids, token_type_ids=types, mask=mask, order=tuple(order))


def batches_from_features(
    features: Sequence[Feature], tokens: int, *, batch_size: int | None = None
) -> Iterator[Batch]:
    """Sort by length and cut into batches of at most `tokens` padded tokens (a longer feature comes alone)."""
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and features[order[stop]].length * (stop + 1 - start) <= tokens:
            stop += 1
            if batch_size is not None and stop - start >= batch_size:
                break
        yield batch_from_features(features, order[start:stop])
        start = stop


class Interpreter:
    """An open session over a graph in standard operators. With `observe_sites`, every site's value can be read."""

    def __init__(self, graph: ir.Model, *, observe_sites: bool = False, threads: int = 0) -> None:
        import onnxruntime as ort  # not at import: `bertc --help` must answer at once

        model = standard_from_graph(graph)
        self.outputs = [str(value.name) for value in model.graph.outputs]
        self.sites: list[Site] = []
        if observe_sites:
            self.sites = _expose_sites(model)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A pattern of memory per batch shape is kept for ever otherwise, and every batch has another shape.
        options.enable_mem_pattern = False
        self._session = ort.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, batch: Batch, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the named outputs, all of the model's by default."""
        wanted = list(names or self.outputs)
        return dict(zip(wanted, self._session.run(wanted, batch.feeds(self._inputs)), strict=True))

    def run_sites(self, batch: Batch, sites: Sequence[Site]) -> list[tuple[Site, Array]]:
        """Return the values of sites."""
        names = [site.name for site in sites]
        return list(zip(sites, self._session.run(names, batch.feeds(self._inputs)), strict=True))


def _expose_sites(model: ir.Model) -> list[Site]:
    """Make every site's value an output of the model; returns the sites in order."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    sites = []
    layer = 0
    while Site(layer, Role.HIDDEN).name in values:
        sites += [Site(layer, role) for role in Role]
        layer += 1
    for site in sites:
        value = values[site.name]
        value.dtype = ir.DataType.FLOAT
        value.shape = ir.Shape(None for _ in range(4 if site.role in (Role.SCORES, Role.PROBS) else 3))
        model.graph.outputs.append(value)
    return sites
