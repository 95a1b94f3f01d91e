"""Sites: the places of a transformer layer where a range is observed and a Q/DQ pair can stand.

A site is one role in one layer, and its value in the graph is named after it: `layer.3.output_gemm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bertc.core.keys import Key
from bertc.errors import InputError


class Role(StrEnum):
    """The quantizable roles of a layer, in the order of the data (docs/modes.md)."""

    HIDDEN = "hidden"
    QUERY_GEMM = "query_gemm"
    KEY_GEMM = "key_gemm"
    VALUE_GEMM = "value_gemm"
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    SCORES = "scores"
    PROBS = "probs"
    CONTEXT = "context"
    ATTENTION_GEMM = "attention_gemm"
    ATTENTION_NORM = "attention_norm"
    INTERMEDIATE_GEMM = "intermediate_gemm"
    ACTIVATION = "gelu"  # as FasterTransformer, tables and recipes call it, whichever function it is
    OUTPUT_GEMM = "output_gemm"


GEMM_INPUTS = (Role.HIDDEN, Role.CONTEXT, Role.ATTENTION_NORM, Role.ACTIVATION)
"""Operands of the layer's GEMMs: the sites that smoothing can divide by a factor per channel."""

GEMM_OUTPUTS = (
    Role.QUERY_GEMM,
    Role.KEY_GEMM,
    Role.VALUE_GEMM,
    Role.ATTENTION_GEMM,
    Role.INTERMEDIATE_GEMM,
    Role.OUTPUT_GEMM,
)
"""Results of the layer's GEMMs before their bias; the value's name is also the GEMM's."""

RESIDUALS = (Role.HIDDEN, Role.ATTENTION_NORM)
"""Sites that a residual addition reads beside the GEMMs."""

PROJECTION = "embeddings.projection"
"""The product that makes narrow embeddings as wide as the layers, where a family has it. It stays in float."""

WORDS = "embeddings.words"
"""The rows of the word embeddings."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One role in one layer."""

    layer: int
    role: Role

    @property
    def name(self) -> str:
        """The name of the site's value in the graph.

        >>> Site(3, Role.OUTPUT_GEMM).name
        'layer.3.output_gemm'
        """
        return f"layer.{self.layer}.{self.role}"

    def __str__(self) -> str:
        return self.name

    def cache_key(self) -> Key:
        """Return the name."""
        return self.name


def site_from_name(name: str) -> Site:
    """Read `layer.3.output_gemm`. Raises `InputError` when it is no site's name."""
    parts = name.split(".")
    try:
        if len(parts) != 3 or parts[0] != "layer":
            raise ValueError
        return Site(int(parts[1]), Role(parts[2]))
    except ValueError:
        raise InputError(
            f"'{name}' is not a site; write layer.<number>.<role> with one of the roles {', '.join(Role)}"
        ) from None
