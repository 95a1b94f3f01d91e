"""What stands on an encoder: the head of a model, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from bertc.core.crf import Crf
from bertc.core.keys import Key, key_of_fields
from bertc.core.lstm import Lstm


class Problem(StrEnum):
    """What a classification head's scores mean."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"


class Pooling(StrEnum):
    """How token vectors become one sentence vector."""

    CLS = "cls"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"


class Similarity(StrEnum):
    """How two sentence vectors are compared; distances are negated, so that more is nearer."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


class Squash(StrEnum):
    """The function behind a score that is no probability yet."""

    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A classifier behind a layer before the last (counted from 0): the names of its modules in the checkpoint.

    `dense` is the pooler's, which may be the model's own; `pooling` (CLS or MEAN) says what of the tokens it reads.
    """

    layer: int
    dense: str
    classifier: str
    pooling: Pooling = Pooling.CLS

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A linear layer of its own behind the encoder: `sizes` are (in, out), `tanh` says that tanh follows.

    `folder` is the module's own in the checkpoint, "" where its weights are among the encoder's.
    """

    folder: str
    sizes: tuple[int, int]
    bias: bool = True
    tanh: bool = False

    @property
    def module(self) -> str:
        """The name of the layer among a checkpoint's weights."""
        return f"{self.folder}.linear" if self.folder else "linear"

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """How queries and documents become tokens whose vectors are compared (Khattab and Zaharia 2020, arXiv:2004.12832).

    The markers, ids of tokens behind the first one, say which of the two a text is; None: there is none. The lengths
    are the most tokens of each, special ones included. `filler` is the id that fills a query up to its length (None:
    it is not filled up), and `filler_seen` whether its other tokens attend to those. `skipped` are the ids whose
    vectors a document goes without.
    """

    query_marker: int | None
    document_marker: int | None
    query_length: int
    document_length: int
    filler: int | None
    filler_seen: bool
    skipped: tuple[int, ...] = ()

    @property
    def hides_filler(self) -> bool:
        """Whether queries end with tokens that nothing attends to."""
        return self.filler is not None and not self.filler_seen

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands on the encoder.

    `task` is a module name of `bertc.tasks` with hyphens. `labels[i]` is the name of score i, where the task names its
    scores. `pooling`, `normalize` and `layer_weights` say how token vectors become a text's, where the task does that:
    `layer_weights` mixes the hidden states, one weight per layer output (embeddings first), or None for the last layer
    alone. `projections` are the linear layers before the normalisation, of a text's vector or of every token's, in
    their order. `dimensions` is how many numbers of a text's vector are kept (None: all), `similarity` how two are
    compared (None: by the cosine), `interaction` what is compared of two texts whose tokens keep their vectors.
    `squash` is the function behind a regression's score, None for the score itself. `crf` decides on the tags of a text
    together, None where each token's scores decide alone. `lstm` gives tags their scores behind the encoder's vectors,
    None where a linear layer does. `exits` are the classifiers that are computed besides the
    last; with an `exit_threshold` a text leaves at the first one whose uncertainty (`bertc.core.exits`) is below.
    `mask` is the id of the token that stands in a text where one is asked for, None for a head that asks for none.
    """

    task: str
    labels: tuple[str, ...] = ()
    problem: Problem | None = None
    pooling: Pooling | None = None
    normalize: bool = False
    layer_weights: tuple[float, ...] | None = None
    projections: tuple[Projection, ...] = ()
    dimensions: int | None = None
    similarity: Similarity | None = None
    interaction: Interaction | None = None
    squash: Squash | None = None
    crf: Crf | None = None
    lstm: Lstm | None = None
    exits: tuple[Exit, ...] = ()
    exit_threshold: float | None = None
    mask: int | None = None

    @property
    def without_exits(self) -> Head:
        """The same head with the last layer's classifier alone."""
        return replace(self, exits=(), exit_threshold=None)

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)
