"""What is sparse, in the report's words."""

from __future__ import annotations

from bertc.prune.pattern import PATTERN
from bertc.prune.stage import VerifiedSparsity, lines_from_gemms
from bertc.recipe import SparsityRecipe
from bertc.report.schema import SparseGemmPart, SparsityPart
from bertc.runtime.optimized import Optimized
from bertc.targets import Target

NO_FASTER = "no product was faster on the machine that built it"


def sparsity_part(
    verified: VerifiedSparsity, sparsity: SparsityRecipe, target: Target, optimized: Optimized
) -> SparsityPart:
    """Write the report's section of what was pruned, or came sparse in the checkpoint."""
    asked = sparsity.pattern is not None
    return SparsityPart(
        pattern=PATTERN,
        criterion=sparsity.criterion if asked else "checkpoint",
        tensors=len(verified.pruned.masks),
        verified=verified.complete,
        unused=NO_FASTER if optimized.gemms_sparse == 0 else target.runtime.sparsity,
        products=optimized.gemms_sparse,
        permuted=asked and sparsity.permute,
        gemms=tuple(SparseGemmPart.model_validate(line) for line in lines_from_gemms(verified.pruned.gemms)),
    )
