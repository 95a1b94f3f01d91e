"""Run any graph of the compiler as it stands: the interpreter of calibration and the simulator of every scheme.

ONNX Runtime executes it with all graph optimizations off: at its default level it would fuse a Q/DQ graph into INT8
kernels, and the simulator would no longer be the reference of what the scheme means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.ir.edit import remove_unused, set_constant
from bertc.ir.sites import Role, Site
from bertc.ir.standard import standard_from_graph

Array = NDArray[np.float32]


WEIGHTS = "weights.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """A graph whose sites can be read, as a file: what another process opens an interpreter of. `threads` as there."""

    path: Path
    outputs: tuple[str, ...]
    sites: tuple[Site, ...]
    threads: int


class Interpreter:
    """An open session over a graph in standard operators. With `observe_sites`, every site's value can be read.

    A file is opened as it was written, with all of its sites.
    """

    def __init__(self, graph: ir.Model | GraphFile, *, observe_sites: bool = False, threads: int = 0) -> None:
        import onnxruntime as ort  # not at import: `bertc --help` must answer at once

        source: str | bytes
        if isinstance(graph, GraphFile):
            outputs, sites, threads, source = graph.outputs, graph.sites, graph.threads, str(graph.path)
        else:
            model, outputs, sites = _interpreted(graph, observe_sites=observe_sites)
            source = ir.to_proto(model).SerializeToString()
        self.outputs, self.sites = list(outputs), list(sites)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Every batch has another shape: patterns and arenas made for one are of no use to the next, and pile up.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = False
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, batch: Batch, extra: dict[str, Any] | None = None) -> dict[str, Array]:
        """Return the model's outputs; `extra` feeds inputs that are no text."""
        names = [name for name in self._inputs if name not in (extra or {})]
        feeds = batch.feeds(names) | (extra or {})
        return dict(zip(self.outputs, self._session.run(self.outputs, feeds), strict=True))

    def run_sites(self, batch: Batch, sites: Sequence[Site]) -> list[tuple[Site, Array]]:
        """Return the values of sites."""
        names = [site.name for site in sites]
        return list(zip(sites, self._session.run(names, batch.feeds(self._inputs)), strict=True))


def load_library() -> None:
    """Import the library that an interpreter runs in, which takes a fraction of a second."""
    import onnxruntime  # noqa: F401


def write_graph_file(graph: ir.Model, folder: Path, *, threads: int) -> GraphFile:
    """Write a graph whose sites can be read into a folder; its weights lie in a file that all processes map."""
    model, outputs, sites = _interpreted(graph, observe_sites=True)
    path = folder / "graph.onnx"
    ir.save(model, path, external_data=WEIGHTS)
    return GraphFile(path=path, outputs=outputs, sites=sites, threads=threads)


def _interpreted(graph: ir.Model, *, observe_sites: bool) -> tuple[ir.Model, tuple[str, ...], tuple[Site, ...]]:
    """Return a graph as it is run, the names of its own outputs, and the sites that can be read."""
    model = standard_from_graph(graph)
    _dequantize_weights(model)
    outputs = tuple(str(value.name) for value in model.graph.outputs)
    return model, outputs, tuple(_expose_sites(model)) if observe_sites else ()


def _dequantize_weights(model: ir.Model) -> None:
    """Put floats in the place of codes that are constants: a call would compute them anew, for half of its time."""
    for node in [node for node in model.graph if node.op_type == "DequantizeLinear"]:
        if any(value is not None and value.const_value is None for value in node.inputs):
            continue
        codes, scale, *zero = (value.const_value.numpy() for value in node.inputs if value and value.const_value)
        dequantized = node.outputs[0]
        axis = node.attributes.get_int("axis", 1) if scale.ndim else 0
        along = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)] if scale.ndim else []
        whole = codes.astype(np.int32) - (zero[0].astype(np.int32).reshape(along) if zero else 0)
        weights = ir.Value(name=f"{dequantized.name}.weights")
        set_constant(weights, whole.astype(np.float32) * scale.reshape(along))
        model.graph.register_initializer(weights)
        dequantized.replace_all_uses_with(weights)
    remove_unused(model)


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
