"""Late interaction (ColBERT): a vector for every token; a query and a document are compared by their tokens (MaxSim).

The engine knows one text. What makes a query or a document of it (`bertc.core.head.Interaction`), and their score, is
computed here around it. Pairs with queries are judged as rankings; those without are pairs with a grade
(`bertc.tasks.head_of_rows`), by the rank correlation. One text alone is read as both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Interaction, Problem, Projection
from bertc.core.outputs import Output
from bertc.data.columns import Layout
from bertc.data.labels import check_texts, is_labelled, number_from_label
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, QUERY, TEXT, TEXT_A, TEXT_B, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.losses import relative_error
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.correlation import correlation_metrics
from bertc.evaluate.metrics.ranking import SCORES
from bertc.evaluate.metrics.token_vectors import COMPARED, max_sim, token_metrics
from bertc.evaluate.reference import Floor, Reading, floor_of_scores, turned_round
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, RawOutputs, SizedValue, Task, Tensors, Truth
from bertc.tasks._declared import Declared
from bertc.tasks._ranking import (
    NOTE,
    RankedByScore,
    floor_of_ranking,
    gold_of_rows,
    metric_at,
    query_numbers,
    ranked_rows,
    ranking_metrics,
    ranking_readings,
)

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

LAYOUT = Layout(choices=((TEXT_A, TEXT_B), (TEXT,)), optional=(QUERY, LABEL, ID), whole_groups=True)
QUERY_TEXT, DOCUMENT = 0, 1
"""Which of a pair's texts is which."""


@dataclass(frozen=True)
class LateInteraction(RankedByScore, Declared):
    """Outputs are `COMPARED` [rows]; gold is `GOLD` [rows], or the grades of pairs, float64 [rows]."""

    name: str = "late-interaction"
    layout: Layout = LAYOUT
    main_fidelity: str = "order_agreement"
    hub_name: str = "feature-extraction"
    head_weights: tuple[str, ...] = ("linear.weight",)
    sentence_modules: bool = True
    no_label_loss: str = "late interaction has no loss of labels"

    def has_architecture(self, name: str) -> bool:
        """Say whether Stanford's ColBERT calls its model this."""
        return name == "HF_ColBERT"

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return the projections of every token: PyLate's modules, or Stanford's one matrix.

        Raises `InputError` for a model that pools its tokens, or has no such matrix.
        """
        modules = files.sentences
        if modules is None:
            name, width = files.scores(self)
            sizes = (files.weights.shape(name)[1], width)
            return Head(task=self.name, normalize=True, projections=(Projection(folder="", sizes=sizes, bias=False),))
        if modules.pooling is not None:
            other = "sparse-embedding" if modules.sparse else "feature-extraction"
            raise InputError(
                f"{files.folder}: its modules pool the tokens into one vector of the text; choose the task {other}, or "
                "take a model whose tokens keep theirs"
            )
        return Head(task=self.name, normalize=True, projections=modules.projections)

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the tokens' vectors: the encoder's, for other tools whose modules project them, and the compared."""
        return (
            Output(name="last_hidden_state", per_token=True, read=False),
            Output(name="token_embeddings", per_token=True, alias="vectors"),
        )

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the projections of every token, and the division by its length."""
        from bertc.ir.pooling import emit_normalized
        from bertc.tasks._projections import emit_projections

        emit, hidden = builder.emit, builder.arch.hidden
        vectors, width = emit_projections(builder, head.projections, states[-1], hidden)
        values = zip((states[-1], emit_normalized(emit, vectors)), self.outputs(head), (hidden, width), strict=True)
        return [(emit.op("Identity", value, name=output.name), (size,)) for value, output, size in values]

    def schema(self, head: Head) -> str:
        """Return the help on columns."""
        graded = " Without several rows of a query the label is a number that grades the pair, or is missing."
        return schema_from_layout(self.name, self.layout, NOTE + graded)

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Map relevances, or grades, to floats; labels of single texts mean nothing here and are dropped.

        Raises `InputError` as `ranked_rows` does, where the pairs are ranked.
        """
        check_texts(rows, (1, 2), self.name)
        if rows and len(rows[0].texts) == 1:
            return tuple(replace(row, label=None, tags=None, answers=()) for row in rows)
        if head.problem != Problem.REGRESSION:
            return ranked_rows(rows)
        if not is_labelled(rows):
            return tuple(replace(row, label=None) for row in rows)
        return tuple(replace(row, label=number_from_label(row)) for row in rows)

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode every row's query, and every row's document: two features a row, of one text both."""
        if not rows:
            return []
        interaction = encoder.interaction
        assert interaction is not None, "the encoder is not that of a model that compares tokens"
        queries = [row.texts[0] for row in rows]
        documents = [row.texts[-1] for row in rows]
        length = min(max_length, interaction.query_length)
        marked = _marked(queries, encoder, interaction.query_marker, length)
        features = [_filled(feature, interaction, length) for feature in marked]
        marked = _marked(documents, encoder, interaction.document_marker, min(max_length, interaction.document_length))
        return features + [_document(feature, interaction) for feature in marked]

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> NDArray[np.void]:
        """Return the score, the query and the tokens of each row, `COMPARED`."""
        tokens: list[list[NDArray[np.float32]]] = [[_NONE, _NONE] for _ in rows]
        for feature, vectors in zip(features, raw["vectors"], strict=True):
            tokens[feature.row][feature.detail["text"]] = vectors[feature.detail["kept"]]
        found = np.zeros(len(rows), COMPARED)
        found["query"] = query_numbers(rows)
        for row, (query, document) in enumerate(tokens):
            found["score"][row] = max_sim(query, document)
            found["tokens"][row] = (query, document)
        return found

    def graded(self, outputs: Any, head: Head) -> NDArray[np.void]:
        """Return the scores and the queries, `SCORES`."""
        found = np.zeros(len(outputs), SCORES)
        for name in SCORES.names or ():
            found[name] = outputs[name]
        return found

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {score} of a pair; of one text {query, document}: a list of vectors each, as it is the one or the
        other."""
        return [
            {"score": float(output["score"])}
            if len(row.texts) == 2
            else {name: each.tolist() for name, each in zip(("query", "document"), output["tokens"], strict=True)}
            for row, output in zip(rows, outputs, strict=True)
        ]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the score of a pair, or how many vectors a text has."""
        if "score" in prediction:
            return [f"{prediction['score']:.4f}"]
        return [
            f"as a {name}: {len(vectors)} vectors of {len(vectors[0])} numbers (--json prints all)"
            if vectors
            else f"as a {name}: no vectors"
            for name, vectors in prediction.items()
        ]

    def gold(self, rows: Sequence[Row], head: Head) -> NDArray[Any] | None:
        """Return the relevance and the query of each row, or its grade; None without labels."""
        if head.problem != Problem.REGRESSION:
            return gold_of_rows(rows)
        return None if not rows or rows[0].label is None else np.array([row.label for row in rows], np.float64)

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return ndcg@10, mrr@10 and map of rankings, Spearman's and Pearson's correlation of graded pairs."""
        if head.problem != Problem.REGRESSION:
            return ranking_metrics()
        pearson, spearman = correlation_metrics(lambda graded: graded["score"])
        return spearman, pearson

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return what a random order scores."""
        return floor_of_scores(gold) if head.problem == Problem.REGRESSION else floor_of_ranking(gold)

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return the scale turned round."""
        return [turned_round(gold)] if head.problem == Problem.REGRESSION else ranking_readings(gold)

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return ndcg, mrr or map over so many ranks."""
        return None if head.problem == Problem.REGRESSION else metric_at(base, cutoff)

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return the agreement of order, that of the best document, the tokens' mean cosine, the scores' error."""
        return token_metrics()

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the feature with all of its tokens: there is no truth about a vector."""
        return Example(feature=feature, scored=np.ones(feature.length, bool), outputs=feature.length)

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Raise `InputError`: there is none."""
        raise InputError(f"{self.no_label_loss}; leave labels at 0 and distill from a teacher")

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return the relative squared error of the tokens' vectors."""
        errors = relative_error(outputs["token_embeddings"], teacher["token_embeddings"])
        assert truth.scored is not None
        return (errors * truth.scored).sum()


def side_of_feature(feature: Feature) -> int:
    """Return as what a feature reads its text: `QUERY_TEXT` or `DOCUMENT`."""
    return int(feature.detail["text"])


_NONE = np.zeros((0, 0), np.float32)


def _marked(texts: Sequence[str], encoder: Encoder, marker: int | None, length: int) -> list[Feature]:
    """Encode texts to at most `length` tokens, with a marker behind the first one."""
    encoded = encoder.encode_batch(texts, max_length=length - (marker is not None))
    places = [] if marker is None else [1]
    return [
        Feature(
            input_ids=np.insert(np.asarray(item.ids, np.int64), places, marker or 0),
            token_type_ids=np.insert(np.asarray(item.type_ids, np.int64), places, 0),
            row=row,
            truncated=bool(item.truncated),
        )
        for row, item in enumerate(encoded)
    ]


def _filled(feature: Feature, interaction: Interaction, length: int) -> Feature:
    """Fill a query up to `length` tokens, all of which are compared."""
    fill = 0 if interaction.filler is None else max(length - feature.length, 0)
    return replace(
        feature,
        input_ids=np.pad(feature.input_ids, (0, fill), constant_values=interaction.filler or 0),
        token_type_ids=np.pad(feature.token_type_ids, (0, fill)),
        seen=feature.length if fill and not interaction.filler_seen else None,
        detail={"text": QUERY_TEXT, "kept": np.ones(feature.length + fill, bool)},
    )


def _document(feature: Feature, interaction: Interaction) -> Feature:
    """Say which of a document's tokens are compared."""
    kept = ~np.isin(feature.input_ids, interaction.skipped)
    return replace(feature, detail={"text": DOCUMENT, "kept": kept})


TASK: Task = LateInteraction()
