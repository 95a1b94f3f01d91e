"""The stage `prune`: a float graph made 2:4, kept in the cache, and verified after the export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.cache.stages import Stage, Work
from bertc.calibrate.gram import Gram, grams_from_batches
from bertc.core.keys import Key, key_of_fields
from bertc.core.progress import Progress, Silent
from bertc.data.encoded import Encoded
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.sites import Site, site_from_name
from bertc.prune.layers import Pruned, PrunedGemm, State, prune_graph, unpruned_gemms
from bertc.prune.pattern import masks_from_graph
from bertc.prune.verify import verify_pattern

WEIGHTS_FILE = "changed.npz"
GEMMS_FILE = "gemms.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsity:
    """How a graph is pruned to 2:4: by a criterion, but for the GEMMs of `skip`, and in which order of the channels."""

    criterion: str
    skip: tuple[str, ...] = ()
    permute: bool = False

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changes:
    """What pruning does to a graph: the initializers that it replaces, and what became of each GEMM."""

    arrays: Mapping[str, NDArray[np.float32]]
    gemms: tuple[PrunedGemm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSparsity:
    """What was pruned, and how many of its weights were read and found 2:4 as codes and in the exported model.

    `codes` is None for a target without static INT8.
    """

    pruned: Pruned
    codes: int | None
    exported: int

    @property
    def complete(self) -> bool:
        """Whether every sparse weight was found 2:4 wherever it is stored."""
        return {self.codes, self.exported} - {None} == {len(self.pruned.masks)}


def pruned_graph(graph: ir.Model, sparsity: Sparsity | None, texts: Encoded | None, *, work: Work) -> Pruned | None:
    """Prune a float graph, take the result from the cache, or (without `sparsity`) recognise one that is 2:4 already.

    `texts` are for a criterion that needs some. Returns None where nothing is sparse.
    """
    if sparsity is None:
        masks = masks_from_graph(graph)
        return Pruned(graph=graph, masks=masks, gemms=unpruned_gemms(graph)) if masks else None
    changes = work.kept(PRUNE, graph, sparsity, texts)
    model = graph.clone()
    for name, array in changes.arrays.items():
        set_constant(model.graph.initializers[name], array)
    return Pruned(graph=model, masks=masks_from_graph(model), gemms=changes.gemms)


def verify_sparsity(pruned: Pruned | None, quantized: ir.Model | None, lowered: ir.Model) -> VerifiedSparsity | None:
    """Check the INT8 codes and the exported model. Raises `BrokenPatternError` where a zero was lost."""
    if pruned is None:
        return None
    return VerifiedSparsity(
        pruned=pruned,
        codes=None if quantized is None else verify_pattern(quantized, pruned.masks),
        exported=verify_pattern(lowered, pruned.masks),
    )


def changed_weights(before: ir.Model, after: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Return the initializers that differ, by name."""
    old = before.graph.initializers
    return {
        str(name): array_of(value)
        for name, value in after.graph.initializers.items()
        if not np.array_equal(array_of(old[name]), array_of(value))
    }


def _prune(progress: Progress, graph: ir.Model, sparsity: Sparsity, texts: Encoded | None) -> _Changes:
    def grams(model: ir.Model, sites: Sequence[Site]) -> Mapping[Site, Gram]:
        assert texts is not None
        return grams_from_batches(model, texts.features, sites, progress=Silent())  # the layers are what is counted

    pruned = prune_graph(
        graph,
        criterion=sparsity.criterion,
        grams=None if texts is None else grams,
        skip=sparsity.skip,
        permute=sparsity.permute,
        progress=progress,
    )
    return _Changes(arrays=changed_weights(graph, pruned.graph), gemms=pruned.gemms)


def lines_from_gemms(gemms: Sequence[PrunedGemm]) -> list[dict[str, Any]]:
    """Write what became of GEMMs as JSON."""
    return [
        {
            "site": gemm.site.name,
            "state": str(gemm.state),
            "reason": gemm.reason,
            "kept_energy": gemm.kept_energy,
            "output_error": gemm.output_error,
        }
        for gemm in gemms
    ]


def _gemm_from_line(line: Mapping[str, Any]) -> PrunedGemm:
    return PrunedGemm(**{**line, "site": site_from_name(line["site"]), "state": State(line["state"])})


def _write(changes: _Changes, folder: Path) -> None:
    arrays: dict[str, Any] = {**changes.arrays}
    np.savez(folder / WEIGHTS_FILE, **arrays)
    (folder / GEMMS_FILE).write_text(json.dumps(lines_from_gemms(changes.gemms)), encoding="utf-8")


def _read(folder: Path) -> _Changes:
    with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    lines = json.loads((folder / GEMMS_FILE).read_text(encoding="utf-8"))
    return _Changes(arrays=arrays, gemms=tuple(map(_gemm_from_line, lines)))


PRUNE = Stage(name="prune", function=_prune, write=_write, read=_read)
