"""What a task is: the protocol that a file of `bertc.tasks` obeys, and what it is given.

A task knows all that its name decides: how a checkpoint says that it has its head, the head's nodes and what they give
out, which columns it reads, rows to features, outputs to decisions, its metrics, and what it is trained for. It knows
no file and no stage. onnx_ir and torch are imported inside the functions that use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Interaction, Pooling, Projection, Similarity
from bertc.core.outputs import Output
from bertc.data.columns import Layout
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.row_table import KeptNumbers

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

    from bertc.evaluate.metric import Metric
    from bertc.evaluate.reference import Floor, Reading
    from bertc.ir.architecture import Architecture, TokenScores
    from bertc.ir.emit import Emitter
    from bertc.ir.sentences import Packing

# `Output.key` -> one array per feature, without padding: [labels] or [length, labels] for "logits", [length] for
# "start_logits" and "end_logits", [hidden] for "embedding".
RawOutputs = Mapping[str, Sequence[NDArray[np.float32]]]

# `Output.name` -> the output of a padded batch, in training: [batch, length, ...] per token, else [batch, ...].
Tensors = Mapping[str, "Tensor"]

# An output's value in the graph, and its sizes behind [batch, length] or [texts].
SizedValue = tuple["ir.Value", tuple[int, ...]]


class Encoder(Protocol):
    """The part of `bertc.checkpoint.text_encoder.TextEncoder` that tasks use.

    Lengths are in tokens, special ones included.
    """

    @property
    def interaction(self) -> Interaction | None:
        """What makes queries and documents of texts, for a model that compares their tokens."""

    @property
    def mask_id(self) -> int:
        """The id of the token that stands for one that is asked for, -1 where there is none."""

    @property
    def positions(self) -> int:
        """The most tokens that the model can take."""

    @property
    def unknown_id(self) -> int:
        """The id of what the vocabulary cannot spell, -1 where there is none."""

    def encode_batch(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
    ) -> Sequence[Any]:
        """Encode texts or pairs; each result has ids, type_ids, offsets, word_ids, sequence_ids, truncated."""

    def encode_words(self, words: Sequence[str], *, max_length: int) -> Any:
        """Encode a text that is already split; `word_ids` of the result are the words' numbers, None elsewhere."""

    def words_of_text(self, text: str) -> tuple[str, ...]:
        """Return the words of a text, as the tokenizer splits it."""

    def encode_windows(self, question: str, context: str, *, max_length: int, stride: int) -> Sequence[Any]:
        """Encode a question with overlapping windows of a context; `stride` is the overlap."""


class Shapes(Protocol):
    """The part of a checkpoint's weights that tells what head it has."""

    def __contains__(self, name: object) -> bool:
        """Say whether a tensor of that name exists."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""


class Sentences(Protocol):
    """What sentence-transformers' modules say: how tokens become a sentence's vector."""

    @property
    def pooling(self) -> Pooling | None:
        """How token vectors are pooled; None where every token keeps its own."""

    @property
    def normalize(self) -> bool:
        """Whether the vector is divided by its length."""

    @property
    def layer_weights(self) -> tuple[float, ...] | None:
        """The mix of hidden states, embeddings first; None for the last layer alone."""

    @property
    def projections(self) -> tuple[Projection, ...]:
        """The linear layers behind pooling, or behind the encoder where nothing is pooled."""

    @property
    def dimensions(self) -> int | None:
        """How many numbers of the vector are kept; None for all."""

    @property
    def similarity(self) -> Similarity | None:
        """How two vectors are compared; None for the cosine."""

    @property
    def sparse(self) -> bool:
        """Whether the vector has a number for each token of the vocabulary (SPLADE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFiles:
    """What a checkpoint's files say of its head; `folder` is for messages, `sentences` None without modules.json.

    `spans` is what the family calls the linear layer of question answering, `token_scores` the layers of a masked
    language model's head, None for a family without; `tagger` says that a CRF decides on tags, or an LSTM scores them.
    """

    folder: Path
    config: Mapping[str, Any]
    weights: Shapes
    spans: str
    token_scores: TokenScores | None = None
    sentences: Sentences | None = None
    tagger: bool = False

    def scores(self, task: Task) -> tuple[str, int]:
        """Return which of the task's `head_weights` is there, and how many scores it gives.

        Raises `InputError` where none is there, or one of another shape.
        """
        for name in task.head_weights:
            if name in self.weights:
                shape = self.weights.shape(name)
                if len(shape) != 2 or shape[0] == 0:
                    raise InputError(
                        f"{self.folder}: {name} has the shape {list(shape)}, not [scores, hidden]; convert it again"
                    )
                return name, shape[0]
        raise InputError(
            f"{self.folder} lacks the tensor {task.head_weights[0]}, which {task.name} needs; fine-tune the "
            "checkpoint, or choose another task"
        )


class HeadBuilder(Protocol):
    """The part of the graph's builder (`bertc.graph.encoder`) that a head is written with."""

    @property
    def path(self) -> Path:
        """The checkpoint's folder, for messages."""

    @property
    def emit(self) -> Emitter:
        """Where nodes are recorded."""

    @property
    def packing(self) -> Packing:
        """Which tokens are whose, from the mask."""

    @property
    def arch(self) -> Architecture:
        """Sizes, and the names of a family's weights."""

    def linear(
        self, x: ir.Value, prefix: str, sizes: tuple[int, int], gemm: str, out: str, *, bias: bool = True
    ) -> ir.Value:
        """Write x W + b of the weights `prefix`.weight and .bias, without `bias` x W alone; sizes: (in, out)."""

    @property
    def ids(self) -> ir.Value:
        """The tokens' ids, int64 [batch, length]."""

    def dense(self, x: ir.Value) -> ir.Value:
        """Write the layers that a family has before its classifier; x: [..., hidden]."""

    def token_scores(self, x: ir.Value, out: str) -> ir.Value:
        """Write a masked language model's head; x: [..., hidden], returns [..., vocabulary], called `out`."""


class Truth(Protocol):
    """A padded batch's truth (`bertc.train.losses.Part`): the examples' `scored` and `gold`, padded and stacked.

    `known` bool [batch] says which examples have a label.
    """

    @property
    def scored(self) -> Tensor | None:
        """Bool [batch, length], or None."""

    @property
    def gold(self) -> Tensor | None:
        """The labels, or None where no example has one."""

    @property
    def known(self) -> Tensor:
        """Bool [batch]."""


class Task(Protocol):
    """What is asked of a task. `rows` are always the checked ones and in one order everywhere."""

    @property
    def name(self) -> str:
        """The file's name, with hyphens."""

    @property
    def layout(self) -> Layout:
        """The columns that the task reads."""

    @property
    def main_fidelity(self) -> str:
        """The fidelity metric that decides where there are no labels."""

    @property
    def window(self) -> int | None:
        """Most tokens of an input where the user names no length; None: the model's own."""

    @property
    def head_weights(self) -> tuple[str, ...]:
        """The head's last matrix [scores, hidden], by the names that families give it; empty for a head without."""

    @property
    def sentence_modules(self) -> bool:
        """Whether sentence-transformers' files belong to such a model: its modules, and its length of texts."""

    @property
    def token_scores(self) -> bool:
        """Whether the head scores the tokens of the vocabulary: the head's labels are their names."""

    @property
    def hub_name(self) -> str:
        """What the Hugging Face hub calls the task, where it has another name there; else empty."""

    @property
    def crf(self) -> bool:
        """Whether a CRF or an LSTM may decide on the outputs: a model that has one has the task's head."""

    @property
    def no_label_loss(self) -> str:
        """Why nothing is learnt from labels; empty where something is."""

    def has_architecture(self, name: str) -> bool:
        """Say whether an entry of config.json's `architectures` ("BertForTokenClassification") has the task's head."""

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return the head that a checkpoint has. Raises `InputError` if the files lack it, or disagree."""

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return what the head's graph and engines give out, in the graph's order."""

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the head behind the hidden states [batch, length, hidden], embeddings first; return its `outputs`."""

    def schema(self, head: Head) -> str:
        """Return the help on what columns the task needs and which labels the head knows."""

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Return the rows with labels mapped to ids. Raises `InputError` on a label or text that does not fit."""

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode rows; `Feature.row` is the row's index. Never longer than `max_length` tokens."""

    def row_outputs(self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head) -> Any:
        """Return what the model says of each row: a sequence (array or list) with one entry per row."""

    def graded(self, outputs: Any, head: Head) -> Any:
        """Return what of outputs per row is graded by labels, one entry per row: small, since it is kept of all rows.

        It is the outputs themselves where they are small, and without what only the fidelity to float is read from.
        """

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return outputs for people and JSON: labels with scores, entities, answers or embeddings."""

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return one of the predictions in the words of a person, line by line."""

    def gold(self, rows: Sequence[Row], head: Head) -> Any:
        """Return what the labelled metrics compare with, or None where the rows have no labels."""

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return the metrics that need labels, of `graded` outputs, the main one first."""

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return what the main metric of a model that knows something is above; gold that is all alike has none."""

    def readings(self, head: Head, gold: Any, graded: Any) -> Sequence[Reading]:
        """Return other meanings of the labels that fit `graded` outputs better: another numbering, a turned scale."""

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return the metric `base[label]@threshold`, or None if the task has no such metric."""

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return the metric `base@cutoff` over so many ranks (None: all), or None if the task ranks nothing so."""

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the metrics that compare with the float model: "agreement", "logit_mse" and the task's own."""

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return per row a number that is the same if and only if (up to a hash) the decision is."""

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return per row the numeric outputs to keep beside a report, by `kept_numbers`."""

    def split_unit(self, row: Row) -> str:
        """Return what must not stand on both sides of a split into training and held-out rows."""

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Pair a feature with the truth about its row; without a label the example has no `gold`."""

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Return the loss of the labels, summed over what is labelled; `truth.gold` is there. In nats, or squared."""

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return the distance of the outputs from the teacher's, summed over outputs."""
