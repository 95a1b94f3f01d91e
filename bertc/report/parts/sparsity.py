"""What is sparse, in the report's words."""

from __future__ import annotations

from bertc.prune.pattern import PATTERN
from bertc.prune.stage import VerifiedSparsity, lines_from_gemms
from bertc.recipe import SparsityRecipe
from bertc.report.schema import SparseGemmPart, SparsityPart
from bertc.targets import Target


def sparsity_part(verified: VerifiedSparsity, sparsity: SparsityRecipe, target: Target) -> SparsityPart:
    """Write the report's section of what was pruned, or came sparse in the checkpoint."""
    asked = sparsity.pattern is not None
    return SparsityPart(
        pattern=PATTERN,
        criterion=sparsity.criterion if asked else "checkpoint",
        tensors=len(verified.pruned.masks),
        verified=verified.complete,
        unused=target.runtime.sparsity,
        permuted=asked and sparsity.permute,
        gemms=tuple(SparseGemmPart.model_validate(line) for line in lines_from_gemms(verified.pruned.gemms)),
    )
