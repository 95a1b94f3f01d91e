"""Extractive question answering: a question and a context of any length, the answer is a span of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import Output
from bertc.data.columns import Column, Layout
from bertc.data.labels import check_texts, is_labelled
from bertc.data.rows import Row
from bertc.data.usual import ID, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.losses import LOWEST, kl_divergence
from bertc.evaluate.metric import Metric
from bertc.evaluate.metrics.answers import answer_metrics
from bertc.evaluate.metrics.fidelity import agreement_metric, distance_metric, divergence, squared_error
from bertc.evaluate.metrics.spans import Answer, Window, answer_from_windows
from bertc.evaluate.reference import Floor, Reading, floor_near_zero
from bertc.evaluate.row_table import KeptNumbers, hash_value, kept_numbers
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, RawOutputs, SizedValue, Task, Tensors, Truth
from bertc.tasks._declared import Declared

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

WINDOW_TOKENS = 384
STRIDE_TOKENS = 128  # both as in BERT's run_squad.py
SPANS = "qa_outputs.weight"
NO_LOGITS = np.zeros((2, 0), np.float32)

LAYOUT = Layout(
    choices=(
        (
            Column(role="question", names=("question", "query"), meaning="the question"),
            Column(role="context", names=("context", "passage"), meaning="the text that holds the answer"),
        ),
    ),
    optional=(
        Column(role="answers", names=("answers", "answer"), meaning="the reference answers: a text or a list"),
        Column(role="group", names=("title", "article"), meaning="the article: the unit of the confidence interval"),
        ID,
    ),
)


@dataclass(frozen=True)
class QuestionAnswering(Declared):
    """Outputs are one `Answer` per row; gold is the tuple of reference answers of each row."""

    name: str = "question-answering"
    layout: Layout = LAYOUT
    main_fidelity: str = "agreement"
    window: int | None = WINDOW_TOKENS
    head_weights: tuple[str, ...] = (SPANS,)

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls such a model this."""
        return name.endswith(("ForQuestionAnswering", "ForQuestionAnsweringSimple"))

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return the head. Raises `InputError` unless the weights give two scores, of start and end."""
        name, rows = files.scores(replace(self, head_weights=(f"{files.spans}.weight",)))
        if rows != 2:
            raise InputError(f"{files.folder}: {name} has {rows} rows, not 2 (start and end); use another checkpoint")
        return Head(task=self.name)

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the scores of each token as the answer's first and last."""
        return (Output(name="start_logits", per_token=True), Output(name="end_logits", per_token=True))

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the linear layer behind every token's vector, and cut it in two."""
        emit, arch = builder.emit, builder.arch
        x = builder.dense(states[-1]) if arch.dense_tokens else states[-1]
        spans = builder.linear(x, arch.spans, (arch.hidden, 2), "head.span_gemm", "head.spans")
        halves = emit.ops("Split", spans, names=("head.start", "head.end"), axis=-1, num_outputs=2)
        axes = emit.constant("head.last", np.array([-1], np.int64))
        names = [output.name for output in self.outputs(head)]
        return [(emit.op("Squeeze", half, axes, name=name), ()) for half, name in zip(halves, names, strict=True)]

    def schema(self, head: Head) -> str:
        """Return the help on columns."""
        return schema_from_layout(self.name, self.layout, "SQuAD's JSON form (1.1 and 2.0) needs no columns.")

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Return the rows. Raises `InputError` on rows that are no pairs, and where only some have answers."""
        check_texts(rows, (2,), self.name)
        is_labelled(rows)
        return tuple(rows)

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode windows of at most 384 tokens that share 128 (a third of a shorter window)."""
        length = min(max_length, WINDOW_TOKENS)
        stride = min(STRIDE_TOKENS, length // 3)
        return [
            _feature(index, window)
            for index, row in enumerate(rows)
            for window in encoder.encode_windows(*row.texts, max_length=length, stride=stride)
        ]

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> list[Answer]:
        """Return the best answer of each row over all of its windows."""
        windows: list[list[Window]] = [[] for _ in rows]
        for feature, start, end in zip(features, raw["start_logits"], raw["end_logits"], strict=True):
            inside, offsets = feature.detail["context"], feature.detail["offsets"]
            start, end = np.asarray(start), np.asarray(end)
            null = float(start[feature.detail["null"]]) + float(end[feature.detail["null"]])
            windows[feature.row].append(Window(start[inside], end[inside], offsets[inside], null))
        return [answer_from_windows(row.texts[1], found) for row, found in zip(rows, windows, strict=True)]

    def graded(self, outputs: Any, head: Head) -> list[Answer]:
        """Return the answers without their windows' scores."""
        return [replace(answer, logits=NO_LOGITS) for answer in outputs]

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {answer, score, start, end, null_score}; start and end are characters of the context.

        Where `null_score` is above a threshold (0 unless one was tuned), a model of SQuAD 2.0 says: no answer.
        """
        return [
            {"answer": a.text, "score": a.score, "start": a.start, "end": a.end, "null_score": a.null_score}
            for a in outputs
        ]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the answer and its score."""
        return [f"{prediction['answer'] or '(no answer)'}  (score {prediction['score']:.3f})"]

    def gold(self, rows: Sequence[Row], head: Head) -> list[tuple[str, ...]] | None:
        """Return the reference answers, or None without."""
        return [row.answers for row in rows] if rows and rows[0].answers else None

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return F1 and exact match, and F1 at the best threshold of the null score."""
        return answer_metrics(_texts, _null_scores)

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return an F1 near 0."""
        return floor_near_zero()

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return nothing: an answer has one meaning."""
        return []

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return None: answers have no labels."""
        return None

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return None: nothing is ranked."""
        return None

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return agreement of the answers' texts, that of whether there is one, divergence and squared error.

        The second is what a model of SQuAD 2.0 decides besides, and stands apart: one of SQuAD 1.1 answers always.
        """
        return (
            agreement_metric(lambda a, b: np.array([x.text == y.text for x, y in zip(a, b, strict=True)])),
            agreement_metric(lambda a, b: (_null_scores(a) > 0) == (_null_scores(b) > 0), "null_agreement"),
            distance_metric("divergence", _divergence),
            distance_metric("logit_mse", _squared_error),
        )

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return a hash of each answer's text."""
        return np.array([hash_value(answer.text) for answer in outputs], np.uint64)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return (first character, last character + 1, score); all logits of SQuAD would be 15 MB."""
        return [kept_numbers(np.array([a.start, a.end, a.score])) for a in outputs]

    def split_unit(self, row: Row) -> str:
        """Return the context: its other questions would tell the answers."""
        return row.texts[1]

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return bool [2, length] as gold: the tokens at which an answer starts and ends, at all of its places.

        A window without an answer has no gold.
        """
        inside: NDArray[np.bool_] = feature.detail["context"]
        begins, ends = feature.detail["offsets"].T  # characters of the context, 0 elsewhere
        gold = np.zeros((2, feature.length), bool)
        for answer in row.answers:
            for first in _places(row.texts[1], answer):
                last = first + len(answer) - 1
                start = np.flatnonzero(inside & (begins <= first) & (first < ends))
                end = np.flatnonzero(inside & (begins <= last) & (last < ends))
                if start.size and end.size:
                    gold[0, start[0]] = gold[1, end[-1]] = True
        known = bool(gold.any())
        return Example(feature=feature, scored=inside, gold=gold if known else None, labelled=int(known))

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Return -log sum_{s in S} p(s) - log sum_{e in E} p(e), halved, over windows with an answer.

        S and E are all places where an answer stands (Clark and Gardner 2018, arXiv:1710.10723, section 3.2), the
        softmax is over the context alone.
        """
        assert truth.gold is not None
        scores = _span_scores(outputs, truth).log_softmax(-1)  # [B, 2, S]
        inside = scores.masked_fill(~truth.gold, LOWEST).logsumexp(-1)
        return -(inside.mean(-1) * truth.known).sum()

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Return T^2 KL(teacher || student) of the softmax of scores / T over the context, start and end averaged."""
        ours, theirs = (_span_scores(values, truth) / temperature for values in (outputs, teacher))
        return temperature**2 * kl_divergence(ours, theirs).mean(-1).sum()


def _feature(index: int, window: Any) -> Feature:
    return Feature(
        input_ids=np.asarray(window.ids, np.int64),
        token_type_ids=np.asarray(window.type_ids, np.int64),
        row=index,
        truncated=bool(window.truncated),
        detail={
            "context": np.asarray(window.sequence_ids) == 1,
            "offsets": np.asarray(window.offsets, np.int32).reshape(-1, 2),
            # The classifier's token says that there is no answer: XLNet's stands at the end.
            "null": 0 if window.sequence_ids[0] < 0 else -1,
        },
    )


def _texts(outputs: Sequence[Answer]) -> list[str]:
    return [answer.text for answer in outputs]


def _null_scores(outputs: Sequence[Answer]) -> Array:
    return np.array([answer.null_score for answer in outputs], np.float64)


def _divergence(reference: Sequence[Answer], outputs: Sequence[Answer]) -> Array:
    sums = [
        float(divergence(a.logits, b.logits).mean()) if a.logits.size else 0.0
        for a, b in zip(reference, outputs, strict=True)
    ]
    return np.stack([np.array(sums), np.ones(len(sums))], -1)


def _squared_error(reference: Sequence[Answer], outputs: Sequence[Answer]) -> Array:
    return np.array([squared_error(a.logits, b.logits) for a, b in zip(reference, outputs, strict=True)])


def _places(context: str, answer: str) -> list[int]:
    places, place = [], context.find(answer) if answer else -1
    while place >= 0:
        places.append(place)
        place = context.find(answer, place + 1)
    return places


def _span_scores(outputs: Tensors, truth: Truth) -> Tensor:
    """Return start and end scores [B, 2, S] with everything but the context hidden."""
    import torch

    assert truth.scored is not None
    scores = torch.stack([outputs["start_logits"], outputs["end_logits"]], 1).float()
    return scores.masked_fill(~truth.scored[:, None], LOWEST)


TASK: Task = QuestionAnswering()
