"""The stage `correct`: how a build's weights are rounded, as the user says or as the calibration text decides.

What is best differs from model to model by more than the corrections themselves gain, so where it is left open, all of
them are tried on calibration text and the one whose outputs are closest to the float model's is taken
(docs/decisions/0005-corrections.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.cache.stages import Stage, Work
from bertc.calibrate.gram import grams_from_batches
from bertc.core.outputs import Output
from bertc.core.progress import Progress
from bertc.data.encoded import Encoded
from bertc.errors import InputError
from bertc.ir.scheme import Scheme
from bertc.ir.sites import GEMM_INPUTS, Site, site_from_name
from bertc.quantize.correction import NO_CORRECTION, Correction, Rounded, correction_from_grams, output_divergence
from bertc.quantize.insert import quantize_graph
from bertc.quantize.quantization import Quantization

JUDGED_FEATURES = 96
"""Texts of the calibration that the corrections are compared on: enough that the better one shows, few enough to be
quick."""

CODES_FILE = "codes.npz"
FACTS_FILE = "correction.json"
NEAREST = (False, False)

Choices = tuple[tuple[bool, bool], ...]
"""What may be done, as (gptq, bias)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionWish:
    """What the user says of the corrections; None leaves it open."""

    gptq: bool | None = None
    bias: bool | None = None

    @property
    def asked(self) -> bool:
        """Whether a correction is asked for, and not merely allowed."""
        return bool(self.gptq) or bool(self.bias)

    def choices(self, scheme: Scheme) -> Choices:
        """Return what is tried: one scale per tensor is rounded to nearest, since weights are not what it suffers from.

        >>> from bertc.ir.scheme import scheme_from_options
        >>> CorrectionWish(bias=False).choices(scheme_from_options("1", layers=1))
        ((False, False), (True, False))
        """
        left_open = (False, True) if scheme.per_channel else (False,)
        roundings = left_open if self.gptq is None else (self.gptq,)
        biases = left_open if self.bias is None else (self.bias,)
        return tuple((gptq, bias) for gptq in roundings for bias in biases)


def chosen_correction(
    graph: ir.Model,
    quantization: Quantization | None,
    texts: Encoded | None,
    wish: CorrectionWish,
    outputs: tuple[Output, ...],
    *,
    work: Work,
) -> Correction:
    """Return the correction that is asked for or that is best for a graph's outputs on the text, maybe from the cache.

    Nothing is corrected without text, nor where ranges and weights were trained together: their codes are what was
    trained. Raises `InputError` for a correction that is asked for where it cannot be.
    """
    if quantization is None:
        return NO_CORRECTION
    choices = wish.choices(quantization.scheme)
    trained = bool(quantization.table.origin.get("trained"))
    if texts is None or trained:
        if wish.asked:
            reason = "the checkpoint was trained with its codes" if trained else "there is no calibration text"
            raise InputError(f"rounding gptq and bias correction cannot be used, because {reason}; leave them out")
        if not trained and len(choices) > 1:
            work.progress.note("weights are rounded to nearest: there is no calibration text to correct them on")
        return NO_CORRECTION
    if choices == (NEAREST,):
        return NO_CORRECTION
    return work.kept(CORRECT, graph, quantization, texts, choices, outputs)


def _tried(
    progress: Progress, graph: ir.Model, quantization: Quantization, texts: Encoded, choices: Choices
) -> list[Correction]:
    """Correct in every way. The moments are freed at its end, before the graphs are judged, which needs memory too."""
    table, scheme = quantization.table, quantization.scheme
    sites = [site for site in table.sites if site.role in GEMM_INPUTS]
    grams = grams_from_batches(graph, texts.features, sites, progress=progress)
    progress.stage("correct", total=len(choices))
    tried = []
    for gptq, bias in choices:
        tried.append(correction_from_grams(graph, table, scheme, grams, gptq=gptq, bias=bias))
        progress.advance()
    return tried


def _correct(
    progress: Progress,
    graph: ir.Model,
    quantization: Quantization,
    texts: Encoded,
    choices: Choices,
    outputs: tuple[Output, ...],
) -> Correction:
    table, scheme = quantization.table, quantization.scheme
    tried = _tried(progress, graph, quantization, texts, choices)
    if len(tried) == 1:
        return tried[0]

    def quantized(correction: Correction) -> ir.Model:
        return quantize_graph(graph, table, scheme, quantization.method, correction=correction).graph

    graphs: dict[str, Callable[[], ir.Model]] = {
        correction.name: partial(quantized, correction) for correction in tried
    }
    step = max(1, len(texts.features) // JUDGED_FEATURES)
    errors = output_divergence(graph, graphs, texts.features[::step], outputs, progress)
    best = min(tried, key=lambda correction: errors[correction.name])
    progress.note(f"rounding {best.name}: output error {errors[best.name]:.3g}, the least of {len(tried)}")
    return replace(best, errors=errors)


def _write(correction: Correction, folder: Path) -> None:
    facts = {"gptq": correction.gptq, "bias": correction.bias, "errors": dict(correction.errors)}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    arrays: dict[str, Any] = {}
    for gemm, rounded in correction.gemms.items():
        arrays |= {f"{gemm.name}.codes": rounded.codes, f"{gemm.name}.shift": rounded.shift}
    np.savez(folder / CODES_FILE, **arrays)


def _read(folder: Path) -> Correction:
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    gemms: dict[Site, Rounded] = {}
    with np.load(folder / CODES_FILE, allow_pickle=False) as arrays:
        for name in arrays.files:
            gemm, _, kind = name.rpartition(".")
            if kind == "codes":
                gemms[site_from_name(gemm)] = Rounded(arrays[name], arrays[f"{gemm}.shift"])
    return Correction(gptq=facts["gptq"], bias=facts["bias"], gemms=gemms, errors=facts["errors"])


CORRECT = Stage(name="correct", function=_correct, write=_write, read=_read)
