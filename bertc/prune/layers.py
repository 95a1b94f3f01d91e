"""Prune a float graph to 2:4, layer by layer.

In: the graph, a criterion, and who takes second moments over text. Out: another graph, its masks, and what each GEMM
lost. A GEMM that is 2:4 already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.calibrate.smoothing import CONSUMERS
from bertc.core.progress import Progress
from bertc.errors import InputError
from bertc.ir.edit import layers_by_weights, layers_of_graph, remove_unused, set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.sites import GEMM_OUTPUTS, Role, Site
from bertc.prune.criteria import Criterion, criterion_from_name
from bertc.prune.pattern import GROUP, Mask, gemms_of_graph, is_sparse, mask_from_scores, weight_name
from bertc.prune.permute import PRODUCERS, head_size_of_graph, order_from_scores, permute_channels, permuted_gram

Grams = Callable[[ir.Model, Sequence[Site]], Mapping[Site, Gram]]
"""Takes the second moments of GEMM inputs of a graph over text (`bertc.calibrate.gram.grams_from_batches`)."""

ALREADY = "2:4 already"
INPUTS = {consumer: role for role, consumers in CONSUMERS.items() for consumer in consumers}


class State(StrEnum):
    """What became of a GEMM."""

    PRUNED = "pruned"
    KEPT = "kept"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedGemm:
    """One GEMM: what became of it, and why where it was not pruned.

    `kept_energy` is the sum of W'^2 over that of W. `output_error` is ||x W - x W'||^2 / ||x W||^2 over the text, None
    without text.
    """

    site: Site
    state: State
    reason: str = ""
    kept_energy: float | None = None
    output_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A pruned graph, the masks [in, out] of its sparse GEMMs by initializer name, and all GEMMs in their order."""

    graph: ir.Model
    masks: Mapping[str, Mask]
    gemms: tuple[PrunedGemm, ...]


def unpruned_gemms(graph: ir.Model) -> tuple[PrunedGemm, ...]:
    """Return the GEMMs of a graph as they are: kept where they are 2:4, else skipped."""
    return tuple(
        PrunedGemm(site=site, state=State.KEPT, reason=ALREADY)
        if is_sparse(weight)
        else PrunedGemm(site=site, state=State.SKIPPED, reason="dense in the checkpoint")
        for site, weight in gemms_of_graph(graph).items()
    )


def skipped_gemms(skip: Iterable[str], layers: int) -> frozenset[Site]:
    """Return the GEMMs that names of sites (layer.0.query_gemm), layers (layer.0) or roles (query_gemm) mean.

    Raises `InputError` for a name that means none.
    """
    every = [Site(layer, role) for layer in range(layers) for role in GEMM_OUTPUTS]
    chosen: set[Site] = set()
    for name in skip:
        matched = [site for site in every if name in (site.name, str(site.role), f"layer.{site.layer}")]
        if not matched:
            raise InputError(
                f"sparsity.skip names '{name}', which is no GEMM, layer or role of a GEMM of this model with {layers} "
                f"layers; write e.g. layer.0.output_gemm, layer.0 or one of {', '.join(GEMM_OUTPUTS)}"
            )
        chosen.update(matched)
    return frozenset(chosen)


def prune_graph(
    graph: ir.Model,
    *,
    criterion: str,
    grams: Grams | None,
    skip: Sequence[str] = (),
    permute: bool = False,
    progress: Progress,
) -> Pruned:
    """Return a copy whose encoder GEMMs are 2:4.

    Every layer's moments are taken on the graph as pruned so far; `grams` None does for a criterion that needs no text.
    Raises `InputError` for an unknown criterion or name, missing text, layers that share their weights, and weights or
    moments that are not finite.
    """
    if any(len(group) > 1 for group in layers_by_weights(graph)):
        raise InputError(
            "the layers of this model share their weights, and bertc prunes only layers that have their own; build the "
            "model dense"
        )
    method = criterion_from_name(criterion)
    if method.NEEDS_TEXT and grams is None:
        raise InputError(f"the sparsity criterion {criterion} needs text; name a file with --calibration-data")
    layers = layers_of_graph(graph)
    run = _Pruning(graph.clone(), method, skipped_gemms(skip, layers))
    progress.stage("prune", total=layers)
    for layer in range(layers):
        found: Mapping[Site, Gram] = {}
        if grams is not None and run.needs_grams(layer):
            found = grams(first_layers(run.model, layer), [Site(layer, role) for role in CONSUMERS])
        run.layer(layer, found, permute=permute)
        progress.advance()
    return Pruned(graph=run.model, masks=run.masks, gemms=tuple(run.gemms))


def first_layers(graph: ir.Model, last: int) -> ir.Model:
    """Return a copy that ends with a layer's last GEMM: moments of that layer need no more, which halves the time."""
    model = graph.clone()
    end = values_by_name(model)[f"layer.{last}.output_biased"]
    end.type, end.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape((None, None, None))
    model.graph.outputs[:] = [end]
    remove_unused(model)
    return model


class _Pruning:
    """Prunes layer by layer, in place. Lives for one call of `prune_graph`."""

    def __init__(self, model: ir.Model, method: Criterion, skipped: frozenset[Site]) -> None:
        self.model = model
        self.method = method
        self.skipped = skipped
        self.masks: dict[str, Mask] = {}
        self.gemms: list[PrunedGemm] = []

    def weight(self, gemm: Site) -> NDArray[np.float32]:
        weight: NDArray[np.float32] = array_of(self.model.graph.initializers[weight_name(gemm)])
        if not np.isfinite(weight).all():
            raise InputError(f"{weight_name(gemm)} is not finite; this checkpoint cannot be pruned")
        return weight

    def left_alone(self, gemm: Site) -> tuple[State, str] | None:
        """Return what a GEMM is instead of pruned, and why; None for one that is to be pruned."""
        weight = self.weight(gemm)
        if is_sparse(weight):
            return State.KEPT, ALREADY
        if gemm in self.skipped:
            return State.SKIPPED, "left dense by the recipe"
        if len(weight) % GROUP:
            return State.SKIPPED, f"its input width {len(weight)} is no multiple of {GROUP}"
        return None

    def needs_grams(self, layer: int) -> bool:
        """Say whether the layer has something to prune."""
        return any(self.left_alone(Site(layer, role)) is None for role in GEMM_OUTPUTS)

    def layer(self, layer: int, grams: Mapping[Site, Gram], *, permute: bool) -> None:
        """Reorder what may be, then prune the layer's six GEMMs."""
        moments = {role: grams.get(Site(layer, INPUTS[role])) for role in GEMM_OUTPUTS}
        for role, found in moments.items():
            if found is not None and not np.isfinite(found.matrix).all():
                raise InputError(f"the second moments of {Site(layer, INPUTS[role])} are not finite; calibrate again")
        for role in PRODUCERS if permute else ():
            moments[role] = self.reorder(Site(layer, role), moments[role])
        for role in GEMM_OUTPUTS:
            self.gemm(Site(layer, role), moments[role])

    def reorder(self, gemm: Site, gram: Gram | None) -> Gram | None:
        """Search a better order of a GEMM's inputs; returns the moments in it."""
        if self.left_alone(gemm) is not None:
            return gram
        scores = self.method.scores_from_weight(self.weight(gemm), gram)
        free = gemm.role is Role.OUTPUT_GEMM
        order = order_from_scores(scores, block=len(scores) if free else head_size_of_graph(self.model, gemm.layer))
        permute_channels(self.model, gemm, order)
        return None if gram is None else permuted_gram(gram, order)

    def gemm(self, gemm: Site, gram: Gram | None) -> None:
        """Prune one GEMM, or say why not."""
        weight, alone = self.weight(gemm), self.left_alone(gemm)
        if alone is not None:
            state, reason = alone
            if state is State.KEPT:
                self.masks[weight_name(gemm)] = mask_from_scores(np.abs(weight))
            self.gemms.append(PrunedGemm(site=gemm, state=state, reason=reason))
            return
        pruned = self.method.prune_weight(weight, gram)
        assert is_sparse(pruned), gemm
        set_constant(self.model.graph.initializers[weight_name(gemm)], pruned)
        self.masks[weight_name(gemm)] = mask_from_scores(np.abs(pruned))
        self.gemms.append(
            PrunedGemm(
                site=gemm,
                state=State.PRUNED,
                kept_energy=_share(_energy(pruned, None), _energy(weight, None)),
                output_error=None if gram is None else _share(_energy(weight - pruned, gram), _energy(weight, gram)),
            )
        )


def _energy(weight: NDArray[np.float32], gram: Gram | None) -> float:
    """Return ||W||^2, or with the moments of x, ||x W||^2 over all tokens."""
    wide = weight.astype(np.float64)
    return float(np.vdot(wide, wide if gram is None else gram.matrix @ wide))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
