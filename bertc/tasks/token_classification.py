"""Token classification: a tag for every word, read at the word's first sub-token.

Each word's scores decide alone, or a CRF decides on all tags of a text together (`bertc.evaluate.chain`). A linear
layer behind the encoder gives the scores, or an LSTM that reads its vectors (`bertc.evaluate.lstm`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.crf import Over
from bertc.core.example import IGNORED, Example
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import Output
from bertc.data.columns import Column, Layout
from bertc.data.labels import LabelIds, check_texts, is_labelled
from bertc.data.rows import Row
from bertc.data.usual import ID, TEXT, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.chain import best_tags, chain_from_head, tag_chances
from bertc.evaluate.formulas import Array
from bertc.evaluate.losses import crf_loss, kl_divergence
from bertc.evaluate.lstm import scores_from_vectors
from bertc.evaluate.metric import HIGHER, Metric
from bertc.evaluate.metrics.classification import softmax
from bertc.evaluate.metrics.entities import (
    entities_from_tags,
    entity_metric,
    scheme_from_labels,
    types_of_labels,
)
from bertc.evaluate.metrics.fidelity import agreement_metric, distance_metric, divergence_of_chances, squared_error
from bertc.evaluate.numbering import better_numberings
from bertc.evaluate.reference import Floor, Reading, floor_near_zero
from bertc.evaluate.row_table import KeptNumbers, hash_value, kept_numbers
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, RawOutputs, SizedValue, Task, Tensors, Truth
from bertc.tasks._declared import Declared
from bertc.tasks._labels import CLASSIFIERS, NUMBERED, labels_from_files

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

VECTORS = "token_vectors"
"""What the engine gives an LSTM to read."""

WORD = re.compile(r"\w+|[^\w\s]")

LAYOUT = Layout(
    choices=((Column(role="words", names=("tokens", "words", "token"), meaning="the words, as a list"),), (TEXT,)),
    optional=(
        Column(role="tags", names=("tags", "ner_tags", "labels", "label", "pos_tags", "ner"), meaning="a tag per word"),
        ID,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tagging:
    """What a model says of a row's words, of which some were cut off or have no token: no scores, and the tag O.

    `logits` float32 [words, labels] are a word's scores, NaN without; `tags` int64 [words] what they decide on;
    `chances` [words, labels] the probability of every tag, under a CRF over all sequences of tags, and 0 without.
    """

    logits: NDArray[np.float32]
    tags: NDArray[np.int64]
    chances: Array

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which words have scores, [words]."""
        return np.asarray(~np.isnan(self.logits).any(-1))

    @property
    def best(self) -> Array:
        """The probability of each word's tag, [words]."""
        return np.asarray(np.take_along_axis(self.chances, self.tags[:, None], 1)[:, 0])


@dataclass(frozen=True)
class TokenClassification(Declared):
    """Outputs are a `Tagging` per row; gold is the tuple of tag names of each row."""

    name: str = "token-classification"
    layout: Layout = LAYOUT
    main_fidelity: str = "agreement"
    head_weights: tuple[str, ...] = CLASSIFIERS
    crf: bool = True

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls such a model this."""
        return name.endswith("ForTokenClassification")

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return the tags. Raises `InputError` where configuration and weights disagree."""
        labels = labels_from_files(files, self)
        scheme_from_labels(labels)
        return Head(task=self.name, labels=labels)

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the scores of each token, or the vectors that an LSTM makes them of."""
        return (Output(name="logits" if head.lstm is None else VECTORS, per_token=True),)

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the linear layer behind every token's vector, which all families call alike."""
        sizes = (builder.arch.hidden, len(head.labels))
        if head.lstm is not None:
            return [(builder.emit.op("Identity", states[-1], name=VECTORS), sizes[:1])]
        x = builder.dense(states[-1]) if builder.arch.dense_tokens else states[-1]
        logits = builder.linear(x, "classifier", sizes, "head.classifier_gemm", "logits")
        return [(logits, sizes[1:])]

    def schema(self, head: Head) -> str:
        """Return the help on columns and tags."""
        note = (
            "CoNLL files need no columns, or take words=NUMBER and tags=NUMBER. The tags (scheme: "
            f"{scheme_from_labels(head.labels)}) are {', '.join(head.labels)}"
        )
        return schema_from_layout(self.name, self.layout, note)

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Split texts that have no words, and map tags to names of the head. Raises `InputError` on others."""
        check_texts(rows, (1,), self.name)
        labelled = is_labelled(rows)
        ids = LabelIds(head.labels)
        return tuple(_checked(row, head, ids if labelled else None) for row in rows)

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode each row's words; `detail` has the first sub-token of each word that is left."""
        features = []
        for index, row in enumerate(rows):
            encoded = encoder.encode_words(row.words or (), max_length=max_length)
            words = np.array([-1 if word is None else word for word in encoded.word_ids], np.int64)
            kept, first = np.unique(words, return_index=True)
            inside = kept >= 0
            features.append(
                Feature(
                    input_ids=np.asarray(encoded.ids, np.int64),
                    token_type_ids=np.asarray(encoded.type_ids, np.int64),
                    row=index,
                    truncated=bool(encoded.truncated),
                    detail={"words": kept[inside], "first": first[inside]},
                )
            )
        return features

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> list[Tagging]:
        """Return what is said of each row's words."""
        (output,) = self.outputs(head)
        of_rows = {feature.row: (feature, values) for feature, values in zip(features, raw[output.key], strict=True)}
        texts = [(row, *of_rows[index]) for index, row in enumerate(rows)]
        scores = _scores([(feature, np.asarray(values)) for _, feature, values in texts], head)
        tags, chances = _decisions(scores, head)
        return [
            _tagging(row, feature, scores[index], tags[index], chances[index], head)
            for index, (row, feature, _) in enumerate(texts)
        ]

    def graded(self, outputs: Any, head: Head) -> list[NDArray[np.int64]]:
        """Return the ids of each row's tags, [words]."""
        return [each.tags for each in outputs]

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {words, tags, entities}; an entity has label, text, score, start and end (characters), words.

        The score is the mean probability of its words' tags.
        """
        return [_prediction(row, tagging, head) for row, tagging in zip(rows, outputs, strict=True)]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the entities, a line each."""
        found = [f"{item['text']}  {item['label']}  {item['score']:.3f}" for item in prediction["entities"]]
        return found or ["no entities"]

    def gold(self, rows: Sequence[Row], head: Head) -> list[tuple[str, ...]] | None:
        """Return the tags, or None without."""
        return [row.tags or () for row in rows] if rows and rows[0].tags is not None else None

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return F1, precision and recall of entities, and the accuracy of tokens."""

        def accuracy(gold: Any, graded: Any) -> Array:
            pairs = list(zip(gold, _all_tags(graded, head), strict=True))
            right = [sum(a == b for a, b in zip(true, given, strict=True)) for true, given in pairs]
            return np.array([right, [len(true) for true, _ in pairs]], np.float64).T

        scheme, bases = scheme_from_labels(head.labels), ("f1", "precision", "recall")
        entities = tuple(entity_metric(base, lambda graded: _all_tags(graded, head), scheme=scheme) for base in bases)
        token = Metric(name="token_accuracy", direction=HIGHER, statistics=accuracy, formula="ratio")
        return (*entities, token)

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return an F1 near 0."""
        some = any(entities_from_tags(tags) for tags in gold)
        return floor_near_zero("" if some else f"none of the {len(gold)} rows has an entity, so nothing can be found")

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return other numberings of the tags."""
        true = np.array([head.labels.index(tag) for tags in gold for tag in tags], np.int64)
        given = np.concatenate(graded)
        confusion = np.zeros((len(head.labels),) * 2)
        np.add.at(confusion, (true, given), 1.0)
        return [
            Reading(cause=NUMBERED, words=words, gold=[_renumbered(tags, head, numbers) for tags in gold])
            for words, numbers in better_numberings(head.labels, confusion)
        ]

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return precision, recall or f1 of one type of entity ("f1[person]")."""
        known = label in types_of_labels(head.labels)
        if base not in ("precision", "recall", "f1") or not known or threshold is not None:
            return None
        scheme = scheme_from_labels(head.labels)
        return entity_metric(base, lambda graded: _all_tags(graded, head), label, scheme)

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return None: nothing is ranked."""
        return None

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return agreement over words, their divergence in nats, and the logits' mean squared error."""

        def agreeing(reference: Any, outputs: Any) -> Array:
            pairs = zip(reference, outputs, strict=True)
            return np.array([((a.tags == b.tags).sum(), len(a.tags)) for a, b in pairs], np.float64)

        return (
            agreement_metric(agreeing),
            distance_metric("divergence", _divergence),
            distance_metric("logit_mse", _squared_error),
        )

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return a hash of each row's tags."""
        return np.array([hash_value(each.tags.tolist()) for each in outputs], np.uint64)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return per word the id of the tag (-1: cut off) and its probability, flat."""
        pairs = [(np.where(each.scored, each.tags, -1), each.best) for each in outputs]
        return [kept_numbers(np.stack(pair, -1)) for pair in pairs]

    def split_unit(self, row: Row) -> str:
        """Return the text's hash."""
        return row.hash

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the tags int64 [length] as gold, `IGNORED` but for the first piece of every word."""
        first, words = feature.detail["first"], feature.detail["words"]
        scored = np.zeros(feature.length, bool)
        scored[_deciding(feature, head)] = True
        outputs = int(scored.sum())
        if row.tags is None:
            return Example(feature=feature, scored=scored, outputs=outputs)
        tags = np.full(feature.length, IGNORED, np.int64)
        tags[first] = [head.labels.index(row.tags[word]) for word in words]
        return Example(feature=feature, scored=scored, gold=tags, outputs=outputs, labelled=len(first))

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Return the cross entropy, summed over tagged words; of a CRF that of texts, whose transitions stay."""
        from torch.nn import functional

        assert truth.gold is not None
        logits, tags = outputs["logits"].float(), truth.gold
        if head.crf is not None:
            assert truth.scored is not None
            transitions, start, end = map(logits.new_tensor, (head.crf.transitions, head.crf.start, head.crf.end))
            return crf_loss(logits, tags, truth.scored, (transitions, start, end))
        logits, tags = logits.flatten(0, 1), tags.flatten()
        return functional.cross_entropy(logits, tags, ignore_index=IGNORED, reduction="sum")

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of the softmax of logits / T, summed over what is scored."""
        ours, theirs = (values["logits"].float() / temperature for values in (outputs, teacher))
        return temperature**2 * kl_divergence(ours, theirs)[truth.scored].sum()


def _deciding(feature: Feature, head: Head) -> NDArray[np.int64] | slice:
    """Return the tokens whose scores decide: the first pieces of words, or all that a CRF goes over."""
    if head.crf is not None and head.crf.over is Over.TOKENS:
        return slice(None)
    first: NDArray[np.int64] = feature.detail["first"]
    return first


def _scores(texts: Sequence[tuple[Feature, NDArray[np.float32]]], head: Head) -> list[NDArray[np.float32]]:
    """Return the scores [places, labels] of the places of each text that decide, by what the engine says of it."""
    if head.lstm is None:
        return [values[_deciding(feature, head)] for feature, values in texts]
    if head.lstm.over is Over.WORDS:
        return scores_from_vectors(head.lstm, [values[feature.detail["first"]] for feature, values in texts])
    scores = scores_from_vectors(head.lstm, [values for _, values in texts])
    return [each[_deciding(feature, head)] for (feature, _), each in zip(texts, scores, strict=True)]


def _decisions(scores: Sequence[NDArray[np.float32]], head: Head) -> tuple[list[NDArray[np.int64]], list[Array]]:
    """Return each text's tags [places] and their probabilities [places, labels] by its scores [places, labels]."""
    if head.crf is None:
        return [each.argmax(-1) for each in scores], [softmax(each) for each in scores]
    chain = chain_from_head(head)
    return best_tags(chain, scores), tag_chances(chain, scores)


def _tagging(
    row: Row, feature: Feature, scores: NDArray[np.float32], tags: NDArray[np.int64], chances: Array, head: Head
) -> Tagging:
    """Return what is said of a row's words by what is said of the places that decide."""
    words, count, labels = feature.detail["words"], len(row.words or ()), len(head.labels)
    deciding = _deciding(feature, head)
    chosen = feature.detail["first"] if isinstance(deciding, slice) else slice(None)
    outside = head.labels.index("O") if "O" in head.labels else 0
    of_words = Tagging(
        logits=np.full((count, labels), np.nan, np.float32),
        tags=np.full(count, outside, np.int64),
        chances=np.zeros((count, labels)),
    )
    of_words.logits[words] = scores[chosen]
    of_words.tags[words] = tags[chosen]
    of_words.chances[words] = chances[chosen]
    return of_words


def _checked(row: Row, head: Head, ids: LabelIds | None) -> Row:
    words = row.words if row.words is not None else tuple(WORD.findall(row.texts[0]))
    if not words:
        raise InputError(f"{row.place}: the text has no words; fill the cell or remove the row")
    if ids is None:
        return replace(row, words=words)
    if row.words is None or row.tags is None:
        raise InputError(f"{row.place}: tags need the words they belong to; name the column with words=NAME")
    if len(row.tags) != len(words):
        raise InputError(f"{row.place}: has {len(words)} words and {len(row.tags)} tags; give one tag per word")
    return replace(row, tags=tuple(head.labels[ids.id(row, tag)] for tag in row.tags))


def _all_tags(graded: Any, head: Head) -> list[list[str]]:
    return [[head.labels[index] for index in ids] for ids in graded]


def _renumbered(tags: Sequence[str], head: Head, numbers: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(head.labels[numbers[head.labels.index(tag)]] for tag in tags)


def _prediction(row: Row, tagging: Tagging, head: Head) -> dict[str, Any]:
    words, text = row.words or (), row.texts[0]
    tags = [head.labels[index] for index in tagging.tags]
    chances, places = tagging.best, _word_places(text, words)
    entities = []
    for kind, first, last in entities_from_tags(tags, scheme_from_labels(head.labels)):
        start, end = places[first][0], places[last][1]
        entities.append(
            {
                "label": kind,
                "text": text[start:end],
                "score": float(chances[first : last + 1].mean()),
                "start": start,
                "end": end,
                "words": [first, last + 1],
            }
        )
    return {"words": list(words), "tags": tags, "entities": entities}


def _word_places(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    places, position = [], 0
    for word in words:
        start = max(text.find(word, position), position)
        position = start + len(word)
        places.append((start, position))
    return places


def _divergence(reference: Sequence[Tagging], outputs: Sequence[Tagging]) -> Array:
    found = []
    for a, b in zip(reference, outputs, strict=True):
        kept = a.scored & b.scored
        found.append((divergence_of_chances(a.chances[kept], b.chances[kept]).sum(), kept.sum()))
    return np.array(found, np.float64)


def _squared_error(reference: Sequence[Tagging], outputs: Sequence[Tagging]) -> Array:
    pairs = zip(reference, outputs, strict=True)
    return np.array([squared_error(a.logits, b.logits) for a, b in pairs], np.float64)


TASK: Task = TokenClassification()
