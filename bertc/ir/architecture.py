"""What a family file says about its models: dimensions and the names of the weights. No arrays, no nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bertc.core.head import Pooling


class Activation(StrEnum):
    """The activation between the two feed-forward GEMMs."""

    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    RELU = "relu"
    SILU = "silu"


class Norm(StrEnum):
    """What the norms of an encoder are."""

    LAYER = "layer_norm"
    RMS = "rms_norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNames:
    """Prefixes of one layer's weights; each has `.weight`, and `.bias` unless `Architecture.without_bias` has it.

    attention_norm: between attention and feed-forward. output_norm: behind the feed-forward; where norms come first,
    the one that the next layer begins with, or the encoder's last.
    """

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeEmbeddings:
    """Embeddings of distances whose products with queries and keys are parts of a score (DeBERTa).

    The table `embeddings` is [2 span, hidden], behind a LayerNorm if `norm` names one. `keys` are each layer's
    projections of it for the products with queries (content to position), `queries` those for the products with keys
    (position to content); empty where a score has no such part. With `buckets` distances share rows the more the
    longer they are, so that `longest` is among the last; without, each has its own.
    """

    embeddings: str
    norm: str | None
    buckets: int
    longest: int
    keys: tuple[str, ...]
    queries: tuple[str, ...]

    @property
    def span(self) -> int:
        """Rows of the table for each direction."""
        return self.buckets or self.longest


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeSinusoids:
    """Sinusoids of distances whose products with queries are parts of a score, and segments, which are another (XLNet).

    `attentions` are the prefixes of each layer's weights: `r.weight` projects the sinusoids as keys, `r_r_bias` is what
    is added to queries before they meet those, [heads, head size]. `seg_embed` has the keys of tokens of the query's
    own segment and of others, [2, heads, head size], and `r_s_bias` is what is added to queries before they meet those.
    Distances beyond `longest` have its sinusoids.
    """

    attentions: tuple[str, ...]
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A weight that is stored as `name` with its heads apart, [out, heads, head size] or [heads, head size].

    `turned`: as [in, heads, head size], and so transposed.
    """

    name: str
    turned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeBias:
    """A number for each head and each bucket of distances, which every layer adds to its scores.

    weight: the table's name, [buckets, heads]. From `longest` tokens on, distances of one direction share a bucket.
    """

    weight: str
    buckets: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """The head of a masked language model: a dense layer with an activation and a LayerNorm, as wide as the embeddings,
    and a score for each token of the vocabulary.

    dense, norm: prefixes. decoder: the last matrix's name, [vocabulary, embedding size]; where files lack it, it is the
    table of the word embeddings. biases: names of the scores' bias; where files have two, they are alike or the
    first is read.
    """

    dense: str
    activation: Activation
    norm: str
    decoder: str
    biases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary positions: at position p pair i of d channels is turned by p / stretch / base^(2 i / d).

    Su et al. 2021; `stretch` is Chen et al.'s interpolation of positions (2023), transformers' "linear".
    """

    base: float
    stretch: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """An encoder: attention and feed-forward by turns, each added to a residual.

    A post-LayerNorm encoder adds to the norm's output. With `norm_first` the sum itself is handed on, from the
    embeddings' norm, and the norms stand before what reads them; with `bare_residual` from the embeddings themselves,
    whose norm then is the first layer's. `norm` is the kind of all norms of the encoder. With `gated`, the
    feed-forward's first GEMM gives two halves, and the activation of the first is multiplied by the second.
    `rotary` positions turn query and key, of each layer; `windows` let a layer's queries see the keys of so many
    positions to each side, None all of them. An empty tuple stands for none in all layers.

    `layers_field` is what config.json calls the number of layers, `width_fields` the width of layers, the number of
    heads and the width of the feed-forward; empty for families that no student is made narrower of.

    A head that reads the first token's vector has the layers `dense`, (prefix, activation name) in order, and then the
    linear layer with the prefix `classifier`; other heads are named alike in all families. The position table has
    `first_position` rows before that of a text's first token, and `positions` from there on; without a table,
    `positions` is how long a text may be. A single token type is part of every token; with several, each token says its
    own; without a table of them, they are segments (`RelativeSinusoids`). Without an `embeddings_norm` the embeddings
    are the first layer's input. The embeddings are `embedding` wide, and where there is an `embedding_projection` (a
    prefix), a linear layer behind their norm makes them `hidden` wide. Layers with the same names share their weights.
    A score is a sum of `attention_terms` products, divided by sqrt(head size * terms) if it is `scaled`. Heads are
    `head_width` wide, or divide the hidden size; one of keys and values is shared by `shared_heads` heads of queries.

    A classifier reads each text's vector by `pooling`, in front of the `dense` layers, or behind them where
    `dense_before_pooling` says so; `dense_norm` is the norm behind the `dense` layers, which heads
    for tokens have too where `dense_tokens` says so. `spans` is question answering's linear layer. The modules
    `without_bias` have weights alone. `token_scores` is the masked language model's head, None where the family has
    none. `unseen` says what the family does with tokens that no other attends to and bertc does not, None for nothing.
    `joined` are weights that are stored as one, by the name of that: rows of it, of
    equal number, one under the other. `stacked` are modules that the graph computes as one, by the name it has here:
    their rows one under the other. `apart` are weights that are stored with their heads apart. `unread` are tensors of
    the encoder that files may hold and nothing computes with.
    """

    hidden: int
    layers: int
    layers_field: str
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    activation: Activation
    word_embeddings: str
    position_embeddings: str | None
    token_type_embeddings: str | None
    embeddings_norm: str | None
    layer_names: tuple[LayerNames, ...]
    dense: tuple[tuple[str, str], ...]
    classifier: str
    width_fields: tuple[str, ...] = ()
    first_position: int = 0
    attention_terms: int = 1
    norm_first: bool = False
    bare_residual: bool = False
    norm: Norm = Norm.LAYER
    scaled: bool = True
    head_width: int | None = None
    shared_heads: int = 1
    gated: bool = False
    rotary: tuple[Rotary, ...] = ()
    windows: tuple[int | None, ...] = ()
    without_bias: frozenset[str] = frozenset()
    pooling: Pooling = Pooling.CLS
    dense_norm: str | None = None
    dense_tokens: bool = False
    dense_before_pooling: bool = False
    spans: str = "qa_outputs"
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stacked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relative_bias: RelativeBias | None = None
    relative_embeddings: RelativeEmbeddings | None = None
    relative_sinusoids: RelativeSinusoids | None = None
    apart: Mapping[str, Apart] = field(default_factory=dict)
    embedding: int | None = None
    embedding_projection: str | None = None
    unread: tuple[str, ...] = ()
    token_scores: TokenScores | None = None
    unseen: str | None = None

    @property
    def scaling(self) -> float:
        """What the products of queries and keys are multiplied by."""
        return float((self.head_size * self.attention_terms) ** -0.5) if self.scaled else 1.0

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads if self.head_width is None else self.head_width

    @property
    def attention_size(self) -> int:
        """Width of all heads together: of query, key, value and context."""
        return self.heads * self.head_size

    @property
    def shares_layers(self) -> bool:
        """Whether some layers have the same weights."""
        return len(set(self.layer_names)) < self.layers

    @property
    def embedding_size(self) -> int:
        """Width of the embedding tables."""
        return self.hidden if self.embedding is None else self.embedding
