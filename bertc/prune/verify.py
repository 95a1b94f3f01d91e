"""Check that what was pruned is still 2:4 where it counts: in a quantized graph's codes and in the exported model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.errors import BertcError
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site, site_from_name
from bertc.prune.pattern import PATTERN, is_sparse

FUSED = (Role.QUERY_GEMM, Role.KEY_GEMM, Role.VALUE_GEMM)
"""What a fused attention holds side by side in one weight [in, 3 out], called after its result, the context."""

CODES_SUFFIXES = ("", "_quantized")
"""Under what name beside its own a lowered model may hold a weight: ONNX Runtime's quantizer appends to it."""


class BrokenPatternError(BertcError):
    """A weight that was pruned has lost its zeros on the way, which is a defect of bertc (exit code 70)."""


def verify_pattern(model: ir.Model, names: Iterable[str]) -> int:
    """Check that the weights `names` (initializers of the float graph) are 2:4 in a quantized or lowered model.

    Returns how many were found, each of them checked; a target may store a weight in a form that cannot be read here.
    Raises `BrokenPatternError` naming the first that is not 2:4.
    """
    found = 0
    for name in names:
        weight = stored_weight(model, name)
        if weight is None:
            continue
        found += 1
        if not is_sparse(weight):
            raise BrokenPatternError(
                f"{name} was pruned and is not {PATTERN} in the exported model, which is a defect of bertc: report it, "
                "and build without --sparsity until then"
            )
    return found


def stored_weight(model: ir.Model, name: str) -> NDArray[Any] | None:
    """Return a GEMM's weight or codes [in, out] as a model holds it, alone or beside others; None if it holds none."""
    initializers = model.graph.initializers
    site = site_from_name(name.removesuffix(".weight"))
    context = f"{Site(site.layer, Role.CONTEXT).name}.weight"
    for suffix in CODES_SUFFIXES:
        if name + suffix in initializers:
            return np.asarray(array_of(initializers[name + suffix]))
        if site.role in FUSED and context + suffix in initializers:
            return np.split(np.asarray(array_of(initializers[context + suffix])), len(FUSED), axis=1)[
                FUSED.index(site.role)
            ]
    return None
