"""Fake quantizers' buffers of other tools, read as the ranges of sites.

What the tools write, by the name of the buffer:

- pytorch-quantization (NVIDIA/TensorRT, tools/pytorch-quantization, nn/modules/tensor_quantizer.py): `_amax` in
  `_input_quantizer` and `_weight_quantizer` of a linear layer.
- transformers' QDQBERT (huggingface/transformers, models/qdqbert/modeling_qdqbert.py): these, and
  `matmul_{q,k,v,a}_input_quantizer`, `add_local_input_quantizer`, `add_residual_input_quantizer`.
- FasterTransformer (NVIDIA/FasterTransformer, examples/pytorch/bert/bert-quantization-sparsity/modeling.py): these, and
  `_aftergemm_quantizer` (the GEMM's result before its bias), `softmax_input_quantizer` (the raw scores),
  `layernorm_input_quantizer`, `final_input_quantizer`; the last two and `add_local` stand on no site.
- FasterTransformer in TensorFlow (examples/tensorflow/bert/bert-quantization/ckpt_quantization.py): the same with
  `quant_min` and `quant_max`, `kernel_quantizer` for the weights, no leading underscores.
- ModelOpt (NVIDIA/TensorRT-Model-Optimizer, modelopt/torch/quantization): `_amax` in `input_quantizer`,
  `weight_quantizer`, `output_quantizer` (the linear layer's result after its bias), and `q_bmm_quantizer`,
  `k_bmm_quantizer`, `v_bmm_quantizer`, `softmax_quantizer` or `p_bmm_quantizer` in the attention.

All are symmetric with the scale amax / 127, as bertc's are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertc.checkpoint.checkpoint import Checkpoint
from bertc.checkpoint.model_opt import STATE_FILE, has_model_opt_names, refuse_other_formats
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames
from bertc.ir.sites import Role, Site

LEAVES = ("_amax", "quant_max", "quant_min")
SAME = 1e-4
"""Relative difference below which two ranges are one: half-precision files round them."""

ADVICE = "name text with --calibration-data to calibrate instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerRanges:
    """The range (amax) of every site that has a buffer; `notes` are sentences that the user should read."""

    sites: Mapping[Site, float]
    notes: tuple[str, ...] = ()


def ranges_from_checkpoint(checkpoint: Checkpoint) -> QuantizerRanges | None:
    """Read the ranges of a checkpoint's fake quantizers; None where it has none.

    Weights' ranges are not used: a weight's range is its own largest magnitude. They are checked, and a weight that
    exceeds its trained range is told, not refused: the ranges are fixed before training, which then moves the weights,
    so that almost every trained checkpoint has some. What it costs, the validation sees.

    Raises `InputError` for a buffer that is no range, or has more than one where the modes have one.
    """
    modules = _amax_by_module(checkpoint)
    if not modules:
        return None
    if has_model_opt_names(checkpoint.quantizers):
        refuse_other_formats(checkpoint.weights.files[0].parent, ADVICE)
    found: dict[Site, list[float]] = {}
    clipped: list[tuple[float, str]] = []
    for layer, names in enumerate(checkpoint.architecture.layer_names):
        for module, role in roles_from_names(names).items():
            if module in modules:
                found.setdefault(Site(layer, role), []).append(_scalar(checkpoint, *modules[module]))
        for module in _linears(names):
            clipped.extend(
                (_excess(checkpoint, module, *modules[quantizer]), f"{module}.weight")
                for quantizer in (f"{module}.weight_quantizer", f"{module}.kernel_quantizer")
                if quantizer in modules
            )
    return QuantizerRanges(
        sites={site: max(values) for site, values in sorted(found.items())},
        notes=(*_differing(found), *_clipped(clipped)),
    )


def notes_on_quantizers(folder: Path, quantizers: Collection[str], architecture: Architecture) -> tuple[str, ...]:
    """Say which quantizers no INT8 mode has, and where nothing tells their format."""
    named = {name.rpartition(".")[0] for name in quantizers}
    plain = {f"{path.rpartition('.')[0]}.{path.rpartition('.')[2].lstrip('_')}" for path in named}
    placed = {quantizer for names in architecture.layer_names for quantizer in roles_from_names(names)}
    linears = {module for names in architecture.layer_names for module in _linears(names)}
    placed |= {f"{module}.{kind}_quantizer" for module in linears for kind in ("weight", "kernel")}
    notes = []
    if left := sorted(plain - placed):
        notes.append(
            f"{len(left)} of the checkpoint's quantizers stand where no INT8 mode quantizes (first: {left[0]}); they "
            "are not used"
        )
    if has_model_opt_names(quantizers) and not (folder / STATE_FILE).is_file():
        notes.append(f"ModelOpt's {STATE_FILE} is not there to tell the quantizers' format; INT8 was assumed")
    return tuple(notes)


def roles_from_names(names: LayerNames) -> dict[str, Role]:
    """Return the role that each quantizer of a layer observes, by its module's name without leading underscores.

    Sites with several are read by several modules: the layer's input by Q, K and V and by the residual addition.
    """
    attention, projected, finished = (
        name.rpartition(".")[0] for name in (names.query, names.attention_output, names.output)
    )
    roles = {
        f"{names.attention_output}.input_quantizer": Role.CONTEXT,
        f"{attention}.bmm2_output_quantizer": Role.CONTEXT,
        f"{names.attention_output}.aftergemm_quantizer": Role.ATTENTION_GEMM,
        f"{names.intermediate}.input_quantizer": Role.ATTENTION_NORM,
        f"{names.intermediate}.aftergemm_quantizer": Role.INTERMEDIATE_GEMM,
        f"{names.output}.input_quantizer": Role.ACTIVATION,
        f"{names.output}.aftergemm_quantizer": Role.OUTPUT_GEMM,
        f"{projected}.add_residual_input_quantizer": Role.HIDDEN,
        f"{finished}.add_residual_input_quantizer": Role.ATTENTION_NORM,
        f"{attention}.softmax_input_quantizer": Role.SCORES,
        f"{attention}.matmul_a_input_quantizer": Role.PROBS,
        f"{attention}.softmax_quantizer": Role.PROBS,
        f"{attention}.p_bmm_quantizer": Role.PROBS,
    }
    operands = (
        (names.query, "q", Role.QUERY_GEMM, Role.QUERY),
        (names.key, "k", Role.KEY_GEMM, Role.KEY),
        (names.value, "v", Role.VALUE_GEMM, Role.VALUE),
    )
    for linear, letter, gemm, operand in operands:
        roles |= {
            f"{linear}.input_quantizer": Role.HIDDEN,
            f"{linear}.aftergemm_quantizer": gemm,
            f"{linear}.output_quantizer": operand,
            f"{attention}.matmul_{letter}_input_quantizer": operand,
            f"{attention}.{letter}_bmm_quantizer": operand,
        }
    return roles


def _linears(names: LayerNames) -> tuple[str, ...]:
    return (names.query, names.key, names.value, names.attention_output, names.intermediate, names.output)


def _amax_by_module(checkpoint: Checkpoint) -> dict[str, tuple[str, NDArray[np.float32]]]:
    """Return a buffer's name and range by quantizer, `encoder.layer.0.output.dense.input_quantizer`.

    quant_min and quant_max are of one quantizer, whose range is the larger magnitude.
    """
    modules: dict[str, tuple[str, NDArray[np.float32]]] = {}
    for name, values in checkpoint.quantizers.items():
        path, _, leaf = name.rpartition(".")
        if leaf not in LEAVES:
            raise InputError(f"{checkpoint.path}: {name} is no range that bertc reads ({', '.join(LEAVES)}); {ADVICE}")
        parent, _, quantizer = path.rpartition(".")
        module = f"{parent}.{quantizer.lstrip('_')}"
        amax = values if leaf == "_amax" else np.abs(values)
        if module in modules:
            other, before = modules[module]
            if amax.shape != before.shape:
                raise InputError(f"{checkpoint.path}: {other} and {name} differ in shape; {ADVICE}")
            amax = np.maximum(amax, before)
        modules[module] = (name, amax)
    for name, amax in modules.values():
        wrong = amax[~np.isfinite(amax) | (amax < 0)]
        if wrong.size or not amax.any():
            shown = wrong[0] if wrong.size else 0
            raise InputError(f"{checkpoint.path}: the range {name} is {shown:g}, not positive and finite; {ADVICE}")
    return modules


def _scalar(checkpoint: Checkpoint, name: str, amax: NDArray[np.float32]) -> float:
    """Return an activation's one range; several are refused, not reduced: no mode trains or runs such a grid."""
    if amax.size != 1:
        raise InputError(
            f"{checkpoint.path}: {name} has the shape {list(amax.shape)}, but an activation has one range in every "
            f"INT8 mode; {ADVICE}"
        )
    return float(amax.ravel()[0])


def _excess(checkpoint: Checkpoint, module: str, name: str, amax: NDArray[np.float32]) -> float:
    """Return the largest of |weight| / amax - 1, over the tensor or per output channel ([out, in])."""
    largest = np.abs(checkpoint.weights.array(f"{module}.weight")).max(axis=1)
    if amax.size not in (1, largest.size):
        raise InputError(
            f"{checkpoint.path}: {name} has the shape {list(amax.shape)}, which is neither one range nor one for each "
            f"of the {largest.size} output channels; save the checkpoint again"
        )
    bounds = np.broadcast_to(amax.ravel(), largest.shape)
    used = largest > 0  # pruning can empty a channel
    if (bounds[used] == 0).any():
        raise InputError(f"{checkpoint.path}: the range {name} is 0 where {module}.weight is not; {ADVICE}")
    return float((largest[used] / bounds[used]).max(initial=0.0)) - 1


def _differing(found: Mapping[Site, list[float]]) -> Iterator[str]:
    """Say that buffers of one tensor differ."""
    differing = [site for site, values in sorted(found.items()) if min(values) < max(values) * (1 - SAME)]
    if differing:
        values = found[differing[0]]
        yield (
            f"the checkpoint's quantizers of one tensor disagree at {len(differing)} sites (first: {differing[0]}, "
            f"{min(values):.4g} to {max(values):.4g}); the largest range of each is used"
        )


def _clipped(excesses: list[tuple[float, str]]) -> Iterator[str]:
    """Say that weights exceed their trained ranges."""
    beyond = [found for found in excesses if found[0] > SAME * 10]
    if beyond:
        worst, name = max(beyond)
        yield (
            f"{len(beyond)} weights exceed the range that their quantizers were trained with (most: {name}, by "
            f"{worst:.1%}); bertc quantizes each weight over its own range, without that clipping"
        )
