"""A toy encoder, heads and raw outputs for tests of tasks and scores. Words are white-space separated, one token each
plus one more for every four further letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertc.core.crf import Crf, Over
from bertc.core.feature import Feature
from bertc.core.head import Head, Interaction, Pooling, Problem, Similarity
from bertc.data.rows import Row, row_from_texts

INTENT = Head(task="sequence-classification", labels=("ham", "spam"), problem=Problem.SINGLE_LABEL)
TOPIC = Head(task="sequence-classification", labels=("art", "bank", "car"), problem=Problem.SINGLE_LABEL)
MULTI = Head(task="sequence-classification", labels=("a", "b", "c"), problem=Problem.MULTI_LABEL)
STARS = Head(task="sequence-classification", labels=("LABEL_0",), problem=Problem.REGRESSION)
NER = Head(task="token-classification", labels=("O", "B-person", "I-person", "B-city", "I-city"))
TAGGER = replace(
    NER,
    crf=Crf(
        transitions=tuple(tuple(0.5 * ((3 * i + 5 * j) % 7 - 3) for j in range(5)) for i in range(5)),
        start=(0.5, 0.0, -1.0, 0.0, 1.0),
        end=(0.0, 1.0, 0.5, -0.5, 0.0),
    ),
)
WHOLE = replace(TAGGER, crf=replace(TAGGER.crf, over=Over.TOKENS))
QA = Head(task="question-answering")
EMBED = Head(task="feature-extraction", pooling=Pooling.MEAN)
TOKENS = ("[MASK]", *(f"t{number}" for number in range(1, 100)))
FILL = Head(task="fill-mask", labels=TOKENS, mask=0)
SPARSE = Head(task="sparse-embedding", labels=TOKENS, pooling=Pooling.MAX, similarity=Similarity.DOT)
RANK = Head(task="text-ranking", labels=("LABEL_0",), problem=Problem.REGRESSION)
COLBERT = Head(task="late-interaction", normalize=True)
PAIRS = replace(COLBERT, problem=Problem.REGRESSION)
HEADS = (INTENT, TOPIC, MULTI, STARS, NER, TAGGER, WHOLE, QA, EMBED, FILL, SPARSE, RANK, COLBERT, PAIRS)
HIDDEN = 8


@dataclass(frozen=True, kw_only=True)
class GateChoice:
    """What a user may ask of the gates, unchecked."""

    gates: Sequence[str] = ()
    max_drop: str | None = None
    min_agreement: float | None = None
    preset: str | None = None


@dataclass(frozen=True)
class Encoded:
    """What the real encoder returns."""

    ids: Any
    type_ids: Any
    offsets: Any
    word_ids: Any
    sequence_ids: Any
    truncated: bool = False


class ToyEncoder:
    """A piece's id is made of the sum of its letters, that of [MASK] is 0."""

    mask_id = 0
    positions = 24
    unknown_id = -1

    interaction = Interaction(
        query_marker=101,
        document_marker=102,
        query_length=14,
        document_length=20,
        filler=103,
        filler_seen=False,
        skipped=(5, 50),
    )

    def encode_batch(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
    ) -> list[Encoded]:
        """Encode texts, or pairs joined."""
        joined = texts if pairs is None else [f"{a} {b}" for a, b in zip(texts, pairs, strict=True)]
        return [self._assemble([], _pieces(text), max_length) for text in joined]

    def encode_words(self, words: Sequence[str], *, max_length: int) -> Encoded:
        """Encode words."""
        pieces = [(p, o, number) for number, word in enumerate(words) for p, o, _ in _pieces(word)]
        return self._assemble([], pieces, max_length)

    def encode_windows(self, question: str, context: str, *, max_length: int, stride: int) -> list[Encoded]:
        """Encode windows."""
        asked, pieces = _pieces(question)[:8], _pieces(context)
        room = max_length - len(asked) - 3
        starts = range(0, max(1, len(pieces) - stride), room - stride)
        return [self._assemble(asked, pieces[start : start + room], max_length) for start in starts]

    def _assemble(self, first: list[Any], second: list[Any], max_length: int) -> Encoded:
        kept = second[: max_length - 2 - (len(first) + 1 if first else 0)]
        special = ("", (0, 0), -1)
        parts = [special, *first, *([special] if first else []), *kept, special]
        number = 1 if first else 0
        sequence = [-1, *[0] * len(first), *([-1] if first else []), *[number] * len(kept), -1]
        return Encoded(
            ids=np.array([0 if p == "[MASK]" else sum(map(ord, p)) % 97 + 3 for p, _, _ in parts], np.int64),
            type_ids=np.array([max(s, 0) for s in sequence], np.int64),
            offsets=np.array([o for _, o, _ in parts], np.int32),
            word_ids=np.array([w for _, _, w in parts], np.int32),
            sequence_ids=np.array(sequence, np.int8),
            truncated=len(kept) < len(second),
        )


def _pieces(text: str) -> list[tuple[str, tuple[int, int], int]]:
    found, position = [], 0
    for number, word in enumerate(text.split()):
        start = text.index(word, position)
        size = len(word) if word == "[MASK]" else 4
        for cut in range(0, len(word), size):
            piece = word[cut : cut + size]
            found.append((piece, (start + cut, start + cut + len(piece)), number))
        position = start + len(word)
    return found


def toy_rows(head: Head, count: int = 40, *, labelled: bool = True, seed: int = 0) -> tuple[Row, ...]:
    """Return unchecked rows with labels as a file would have them."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        words = tuple(f"w{random.integers(0, 999)}x{index}" for _ in range(int(random.integers(2, 9))))
        text, fields = " ".join(words), {}
        if head.task == "fill-mask":
            text = " ".join(("[MASK]", *words[1:]))
        if head.task == "token-classification":
            tags = tuple(head.labels[i] for i in random.integers(0, len(head.labels), len(words)))
            fields = {"words": words, "tags": tags if labelled else None}
        elif head.task == "question-answering":
            fields = {"answers": (words[0], words[-1]) if labelled else (), "group": f"article {index % 7}"}
        elif labelled:
            fields = {"label": _label(head, random)}
        if head in (RANK, COLBERT):
            fields["group"] = f"query {index % 7}"
        second = {
            "question-answering": ("which " + text, text),
            "feature-extraction": (text, text[::-1]),
            "sparse-embedding": (text, text[::-1]),
            "text-ranking": (f"query {index % 7}", text),
            "late-interaction": (f"query {index % 7}" if head == COLBERT else text[::-1], text),
        }
        rows.append(row_from_texts(*second.get(head.task, (text,)), line=index + 1, source="toy", **fields))
    return tuple(rows)


def _label(head: Head, random: np.random.Generator) -> Any:
    if head.problem == Problem.REGRESSION or head.task in (
        "feature-extraction",
        "sparse-embedding",
        "late-interaction",
    ):
        return f"{random.random():.3f}"
    if head.problem == Problem.MULTI_LABEL:
        return ",".join(label for label in head.labels if random.random() < 0.5) or "a"
    first = 0 if head.mask is None else 1  # the mask, which is no label
    return head.labels[int(random.integers(first, len(head.labels)))]


def toy_raw(head: Head, features: Sequence[Feature], *, noise: float = 0.0, seed: int = 1) -> dict[str, list[Any]]:
    """Return raw outputs that depend on the ids, plus noise: the float model (0) and its engines."""
    random = np.random.default_rng(seed)

    def values(feature: Feature, shape: tuple[int, ...], salt: int) -> Any:
        own = np.random.default_rng([salt, *feature.input_ids.tolist()]).standard_normal(shape)
        return (own + noise * random.standard_normal(shape)).astype(np.float32)

    if head.task == "question-answering":
        return {
            name: [values(feature, (feature.length,), salt) for feature in features]
            for salt, name in enumerate(("start_logits", "end_logits"))
        }
    if head.task == "feature-extraction":
        return {"embedding": [values(feature, (HIDDEN,), 0) for feature in features]}
    if head.task == "late-interaction":
        return {"vectors": [values(feature, (feature.length, HIDDEN), 0) for feature in features]}
    if head.task == "sparse-embedding":
        return {"embedding": [np.maximum(values(feature, (len(TOKENS),), 0), 0) for feature in features]}
    per_token = head.task == "token-classification"
    shapes = [((f.length,) if per_token else ()) + (len(head.labels),) for f in features]
    return {"logits": [values(feature, shape, 0) for feature, shape in zip(features, shapes, strict=True)]}
