"""What a family file says about its models: dimensions and the names of the weights. No arrays, no nodes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Activation(StrEnum):
    """The activation between the two feed-forward GEMMs."""

    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    RELU = "relu"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNames:
    """Prefixes of one layer's weights; each has `.weight` and `.bias`."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeBias:
    """A number for each head and each bucket of distances, which every layer adds to its scores.

    weight: the table's name, [buckets, heads]. From `longest` tokens on, distances of one direction share a bucket.
    """

    weight: str
    buckets: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A post-LayerNorm encoder.

    A head that reads the first token's vector has the layers `dense`, (prefix, activation name) in order, and then the
    linear layer with the prefix `classifier`; other heads are named alike in all families. The position table has
    `first_position` rows before that of a text's first token, and `positions` from there on. A single token type is
    part of every token; with several, each token says its own. The embeddings are `embedding` wide, and where there is
    an `embedding_projection` (a prefix), a linear layer behind their norm makes them `hidden` wide. Layers with the
    same names share their weights.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    activation: Activation
    word_embeddings: str
    position_embeddings: str
    token_type_embeddings: str | None
    embeddings_norm: str
    layer_names: tuple[LayerNames, ...]
    dense: tuple[tuple[str, str], ...]
    classifier: str
    first_position: int = 0
    relative_bias: RelativeBias | None = None
    embedding: int | None = None
    embedding_projection: str | None = None

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def shares_layers(self) -> bool:
        """Whether some layers have the same weights."""
        return len(set(self.layer_names)) < self.layers

    @property
    def embedding_size(self) -> int:
        """Width of the embedding tables."""
        return self.hidden if self.embedding is None else self.embedding
