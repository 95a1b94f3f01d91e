"""Corrections of weight quantization by what is known of the GEMM's inputs: rounding, and the bias.

The bias takes the mean of what rounding changes, E[x] (W - W_q) (Nagel et al. 2019, arXiv:1906.04721, section 4.2, with
the mean from text in the place of batch normalization's). What is left for rounding are the centred inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.calibrate.smoothing import CONSUMERS
from bertc.calibrate.table import CalibrationTable
from bertc.core.batch import batches_from_features
from bertc.core.feature import Feature
from bertc.core.outputs import Output, vector_from_values
from bertc.core.progress import Progress
from bertc.ir.affine import codes_from_weights, scale_from_amax, weight_amax
from bertc.ir.edit import layers_by_weights
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Site
from bertc.quantize.rounding import codes_from_moments
from bertc.quantize.smooth import smooth_graph
from bertc.quantize.split import split_graph, split_table, splits_from_table

Array = NDArray[np.float32]
TOKENS_PER_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Rounded:
    """One GEMM's weights as codes [in, out], and what is added to its bias, [out]."""

    codes: NDArray[np.int8]
    shift: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How the weights of a scheme are rounded; a GEMM that `gemms` lacks is rounded to nearest.

    `errors` are the mean squared errors of the outputs over text of all that was tried, by name.
    """

    gptq: bool = False
    bias: bool = False
    gemms: Mapping[Site, Rounded] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What is done, in words."""
        return ("gptq" if self.gptq else "nearest") + (", biases corrected" if self.bias else "")


NO_CORRECTION = Correction()


def weight_scales(weights: Sequence[Array], scheme: Scheme) -> list[Array]:
    """Return the scales of the GEMMs that read one site, [] or [out]; Q, K and V have a common one where tied."""
    scales = [scale_from_amax(weight_amax(weight, per_channel=scheme.per_channel)) for weight in weights]
    if scheme.tie_qkv and len(scales) > 1:
        return [np.asarray(np.max(scales), np.float32)] * len(scales)
    return scales


def correction_from_grams(
    graph: ir.Model,
    table: CalibrationTable,
    scheme: Scheme,
    grams: Mapping[Site, Gram],
    *,
    gptq: bool,
    bias: bool,
) -> Correction:
    """Round the weights of a float graph as a scheme stores them.

    `grams` are the moments of the plain GEMM inputs over the calibration text. Layers that share their weights are
    rounded once, for the text that all of them see; each has a bias of its own.
    """
    groups = layers_by_weights(graph)
    splits = splits_from_table(graph, table, scheme)
    table = split_table(table, splits)
    weights = smooth_graph(split_graph(graph, splits), table, scheme).graph.initializers
    gemms: dict[Site, Rounded] = {}

    def moments(site: Site) -> Gram:
        gram = grams[site].selected(splits[site].source) if site in splits else grams[site]
        return gram if scheme.smoothing is None else gram.divided(table.smoothing[site])

    for sites in _sites_by_weights(grams, groups):
        own = {site: moments(site) for site in sites if scheme.quantizes(site)}
        if not own:
            continue
        matrices = [array_of(weights[f"{gemm.name}.weight"]) for gemm in _consumers(next(iter(own)))]
        # Side by side, since all columns that read the same site are rounded in one sweep.
        matrix = np.concatenate(matrices, axis=1)
        scales = weight_scales(matrices, scheme)
        scale = np.concatenate([np.broadcast_to(s, w.shape[1:]) for s, w in zip(scales, matrices, strict=True)])
        if gptq:
            codes = codes_from_moments(matrix, scale, _rounding_moments(list(own.values()), centred=bias))
        else:
            codes = codes_from_weights(matrix, scale)
        edges = np.cumsum([weight.shape[1] for weight in matrices])[:-1]
        for site, gram in own.items():
            shift = np.zeros(matrix.shape[1], np.float32)
            if bias:
                shift = (gram.mean @ (matrix - codes * scale)).astype(np.float32)
            parts = zip(_consumers(site), np.split(codes, edges, axis=1), np.split(shift, edges), strict=True)
            gemms |= {gemm: Rounded(np.ascontiguousarray(part), added) for gemm, part, added in parts}
    return Correction(gptq=gptq, bias=bias, gemms=gemms)


def _sites_by_weights(grams: Mapping[Site, Gram], groups: Sequence[Sequence[int]]) -> list[list[Site]]:
    """Return the sites whose GEMMs have the same weights, together."""
    first = {layer: layers[0] for layers in groups for layer in layers}
    found: dict[Site, list[Site]] = {}
    for site in grams:
        found.setdefault(Site(first[site.layer], site.role), []).append(site)
    return list(found.values())


def _consumers(site: Site) -> list[Site]:
    return [Site(site.layer, gemm) for gemm in CONSUMERS[site.role]]


def _rounding_moments(grams: Sequence[Gram], *, centred: bool) -> NDArray[np.float64]:
    """Return what errors of rounding are weighed with; a bias that is corrected takes the mean out, layer by layer."""
    return np.asarray(sum(gram.centred if centred else gram.matrix for gram in grams))


def output_divergence(
    float_graph: ir.Model,
    graphs: Mapping[str, Callable[[], ir.Model]],
    features: Sequence[Feature],
    outputs: Sequence[Output],
    progress: Progress,
) -> dict[str, float]:
    """Return the mean squared difference of each graph's outputs from the float graph's, over real tokens."""
    progress.stage("compare corrections", total=1 + len(graphs))
    reference = _vector(float_graph, features, outputs)
    progress.advance()
    errors = {}
    for name, graph in graphs.items():
        errors[name] = float(np.mean((_vector(graph(), features, outputs) - reference) ** 2))
        progress.advance()
    return errors


def _vector(graph: ir.Model, features: Sequence[Feature], outputs: Sequence[Output]) -> NDArray[np.float64]:
    """Return all outputs of real tokens as one vector."""
    interpreter = Interpreter(graph)
    batches = batches_from_features(features, TOKENS_PER_BATCH)
    return np.concatenate([vector_from_values(outputs, interpreter.run(batch), batch.mask) for batch in batches])
