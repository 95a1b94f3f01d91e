"""Fill mask: the token that stood where a text has a mask, read from the mask's vector alone.

A text has one mask: the user's, with the token that is right as its label, or else one in the place of a token that the
text's hash chooses, which then is the right one. Only the mask's vector meets the vocabulary, never every token's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import Output
from bertc.data.columns import Layout
from bertc.data.labels import check_texts, is_labelled
from bertc.data.rows import Row
from bertc.data.usual import ID, LABEL, TEXT, schema_from_layout
from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric
from bertc.evaluate.metrics.fidelity import agreement_metric, distance_metric, divergence, squared_error
from bertc.evaluate.reference import Floor, Reading, floor_near_zero
from bertc.evaluate.row_table import KeptNumbers, kept_numbers
from bertc.evaluate.spelling import SIGNS
from bertc.evaluate.task import Encoder, HeadBuilder, HeadFiles, RawOutputs, SizedValue, Task, Tensors, Truth
from bertc.tasks._declared import Declared
from bertc.tasks._tokens import BIASES, check_token_scores

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

SHOWN = 5
"""Tokens of a prediction, and how many a right one may be among for `accuracy@5`."""

REPLACED = -1
"""The label of a text without a mask: whatever the mask will replace."""

UNKNOWN = -1
"""The gold, and the rank, of a mask of which nobody says what is right."""

USUAL_MASKS = re.compile(r"\[mask\]|<mask>", re.IGNORECASE)
"""How the families spell their masks."""

LAYOUT = Layout(choices=((TEXT,),), optional=(LABEL, ID))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filling:
    """The scores of all tokens at a row's mask, float32 [vocabulary], and the right one's id, or `UNKNOWN`."""

    logits: NDArray[np.float32]
    gold: int

    @property
    def rank(self) -> int:
        """How many tokens stand before the right one, or `UNKNOWN`: of equal scores that of the lower id stands first,
        as in `best`."""
        if self.gold == UNKNOWN:
            return UNKNOWN
        score = self.logits[self.gold]
        return int((self.logits > score).sum() + (self.logits[: self.gold] == score).sum())

    @property
    def best(self) -> NDArray[np.int64]:
        """The ids of the `SHOWN` most probable tokens, best first."""
        return np.asarray(np.argsort(-self.logits, kind="stable")[:SHOWN], np.int64)


@dataclass(frozen=True)
class FillMask(Declared):
    """Outputs are a `Filling` per row; gold are the labels' ids, int64 [n], `REPLACED` where the text has them."""

    name: str = "fill-mask"
    layout: Layout = LAYOUT
    main_fidelity: str = "agreement"
    head_weights: tuple[str, ...] = BIASES
    token_scores: bool = True
    no_label_loss: str = "a masked language model's last matrix is the embedding table, which is not trained twice"

    def has_architecture(self, name: str) -> bool:
        """Say whether transformers calls such a model this."""
        return name.endswith("ForMaskedLM")

    def head_from_files(self, files: HeadFiles) -> Head:
        """Return the head, whose tokens the tokenizer knows. Raises `InputError` where the checkpoint has none."""
        check_token_scores(files, self.name)
        return Head(task=self.name)

    def outputs(self, head: Head) -> tuple[Output, ...]:
        """Return the scores of all tokens at each text's mask."""
        return (Output(name="logits", per_token=False),)

    def emit_head(self, builder: HeadBuilder, head: Head, states: Sequence[ir.Value]) -> Sequence[SizedValue]:
        """Write the choice of each text's mask, and the family's head behind it."""
        from bertc.ir.sentences import emit_marked_tokens

        assert head.mask is not None
        arch = builder.arch
        x = emit_marked_tokens(builder.emit, builder.packing, builder.ids, head.mask, states[-1], arch.hidden)
        return [(builder.token_scores(x, "logits"), (arch.vocabulary,))]

    def schema(self, head: Head) -> str:
        """Return the help on columns and the mask."""
        note = (
            f"A text has {_mask(head)} once, and its label is the token that belongs there; or no text has it, and one "
            "token of each is masked and is to be found again."
        )
        return schema_from_layout(self.name, self.layout, note)

    def check_rows(self, rows: Sequence[Row], head: Head) -> tuple[Row, ...]:
        """Map the masks' tokens to ids. Raises `InputError` for a token that the vocabulary lacks, for a text with two
        masks, or with another family's and a label, and where some texts have one and some none.

        With a head that reads no mask all texts are taken as they are.
        """
        check_texts(rows, (1,), self.name)
        whole = tuple(replace(row, label=REPLACED, from_text=True, tags=None, answers=()) for row in rows)
        if head.mask is None:
            return whole
        mask = _mask(head)
        counts = [row.texts[0].count(mask) for row in rows]
        for row, count in zip(rows, counts, strict=True):
            _check_masks(row, mask, count, some=any(counts))
        if not any(counts):
            return whole
        if not is_labelled(rows):
            return tuple(row if row.label is None else replace(row, label=None) for row in rows)
        ids = {token: id for id, token in enumerate(head.labels)}
        return tuple(replace(row, label=_id(row, mask, ids)) for row in rows)

    def features_from_rows(self, rows: Sequence[Row], encoder: Encoder, max_length: int) -> list[Feature]:
        """Encode each row; `detail` has the right token as gold. Raises `InputError` for a mask that is cut off."""
        encoded = encoder.encode_batch([row.texts[0] for row in rows], max_length=max_length) if rows else []
        features = []
        for index, (row, item) in enumerate(zip(rows, encoded, strict=True)):
            ids, gold = np.array(item.ids, np.int64), UNKNOWN
            if row.label == REPLACED and encoder.mask_id not in ids:
                places = np.flatnonzero((np.asarray(item.sequence_ids) >= 0) & (ids != encoder.unknown_id))
                if places.size:
                    place = places[int(row.hash, 16) % places.size]
                    gold, ids[place] = int(ids[place]), encoder.mask_id
            elif encoder.mask_id not in ids:
                longer = max_length < encoder.positions
                raise InputError(_lost_mask(row, max_length, cut=bool(item.truncated), longer=longer))
            elif row.label not in (None, REPLACED):
                gold = row.label
            features.append(
                Feature(
                    input_ids=ids,
                    token_type_ids=np.asarray(item.type_ids, np.int64),
                    row=index,
                    truncated=bool(item.truncated),
                    detail={"gold": gold},
                )
            )
        return features

    def row_outputs(
        self, rows: Sequence[Row], features: Sequence[Feature], raw: RawOutputs, head: Head
    ) -> list[Filling]:
        """Return the scores at each row's mask."""
        found = {
            feature.row: Filling(logits=np.asarray(logits, np.float32), gold=feature.detail["gold"])
            for feature, logits in zip(features, raw["logits"], strict=True)
        }
        return [found[index] for index in range(len(rows))]

    def graded(self, outputs: Any, head: Head) -> NDArray[np.int64]:
        """Return the right tokens' ranks, [rows]."""
        return np.array([each.rank for each in outputs], np.int64)

    def predictions(self, rows: Sequence[Row], outputs: Any, head: Head) -> list[dict[str, Any]]:
        """Return {tokens}, the most probable ones, each with token and score. Raises `InputError` without a mask."""
        for row in rows:
            if row.label == REPLACED:
                raise InputError(f"{row.place}: the text has no {_mask(head)}; write it where a token is asked for")
        return [{"tokens": _tokens(each, head)} for each in outputs]

    def lines(self, prediction: Mapping[str, Any]) -> list[str]:
        """Return the tokens, a line each."""
        return [f"{item['token']}  {item['score']:.4f}" for item in prediction["tokens"]]

    def gold(self, rows: Sequence[Row], head: Head) -> NDArray[np.int64] | None:
        """Return the labels' ids, or None where nobody says what is right."""
        if not rows or rows[0].label is None:
            return None
        return np.array([row.label for row in rows], np.int64)

    def metrics(self, head: Head) -> tuple[Metric, ...]:
        """Return how many tokens are found again as the most probable one, and among the five most probable."""
        return _accuracy(1), _accuracy(SHOWN)

    def floor(self, head: Head, gold: Any) -> Floor:
        """Return an accuracy near 0: no token is a tenth of a text."""
        alike = ""
        if gold[0] != REPLACED and (gold == gold[0]).all():
            alike = f"all {len(gold)} rows have the same token, {head.labels[gold[0]]!r}, at their masks"
        return floor_near_zero(alike)

    def readings(self, head: Head, gold: Any, graded: Any) -> list[Reading]:
        """Return none: tokens have names."""
        return []

    def metric(self, head: Head, base: str, label: str, threshold: float | None) -> Metric | None:
        """Return None: no token has a metric of its own."""
        return None

    def metric_at(self, head: Head, base: str, cutoff: int | None) -> Metric | None:
        """Return the accuracy among so many most probable tokens."""
        return _accuracy(1 if cutoff is None else cutoff) if base == "accuracy" else None

    def fidelity(self, head: Head) -> tuple[Metric, ...]:
        """Return agreement on the most probable token, the divergence in nats, and the logits' squared error."""
        return (
            agreement_metric(lambda a, b: self.decisions(a, head) == self.decisions(b, head)),
            distance_metric("divergence", _divergence),
            distance_metric("logit_mse", _squared_error),
        )

    def decisions(self, outputs: Any, head: Head) -> NDArray[np.uint64]:
        """Return the most probable tokens' ids."""
        return np.array([each.logits.argmax() for each in outputs], np.uint64)

    def packed(self, outputs: Any) -> list[KeptNumbers]:
        """Return the logits of the most probable tokens, best first: those of all would be larger than the engine."""
        return [kept_numbers(each.logits[each.best]) for each in outputs]

    def split_unit(self, row: Row) -> str:
        """Return the text's hash."""
        return row.hash

    def example(self, row: Row, feature: Feature, head: Head) -> Example:
        """Return the feature alone: these models are not trained here."""
        return Example(feature=feature)

    def label_loss(self, head: Head, outputs: Tensors, truth: Truth) -> Tensor:
        """Raise `InputError`: there is none."""
        raise InputError(f"{self.no_label_loss}; fine-tune with transformers")

    def logit_loss(self, head: Head, outputs: Tensors, teacher: Tensors, truth: Truth, temperature: float) -> Tensor:
        """Raise `InputError`: there is none."""
        raise InputError(f"{self.no_label_loss}; fine-tune with transformers")


def _mask(head: Head) -> str:
    assert head.mask is not None
    return head.labels[head.mask]


def _check_masks(row: Row, mask: str, count: int, *, some: bool) -> None:
    """Refuse a text that has not as many masks as its data set has: one each where `some` text has any."""
    other = None if count or not row.labelled else USUAL_MASKS.search(row.texts[0])
    if other is not None:
        raise InputError(f"{row.place}: the text has {other[0]}, and this model's mask is {mask}; write that instead")
    if some and not count:
        raise InputError(
            f"{row.place}: the text has no {mask}, and others have it; either every text has it once, or none has"
        )
    if count > 1:
        raise InputError(
            f"{row.place}: the text has {mask} {count} times, and one token is found at a time; write it once"
        )


def _lost_mask(row: Row, max_length: int, *, cut: bool, longer: bool) -> str:
    if cut:
        remedy = ", or raise max_length" if longer else ""
        return (
            f"{row.place}: the mask lies behind the first {max_length} tokens, which are all that is read; shorten the "
            f"text before it{remedy}"
        )
    return f"{row.place}: the tokenizer does not read the mask as one token; add it to tokenizer.json's added_tokens"


def _id(row: Row, mask: str, ids: Mapping[str, int]) -> int:
    """Return the id of a row's token. Without the vocabulary's sign for a blank it is what can stand at the mask: a
    token with the sign behind white space, without it behind anything else, and either at a text's beginning."""
    given = str(row.label).strip()
    if given == mask:
        raise InputError(f"{row.place}: the label is {mask} itself; give the token that belongs in its place")
    before = row.texts[0].partition(mask)[0]
    signed = [sign + given for sign in SIGNS if sign + given in ids]
    choices = [*signed, given] if before[-1:].isspace() else [given] if before else [given, *signed]
    for token in choices:
        if token in ids:
            return ids[token]
    if signed:
        raise InputError(
            f"{row.place}: the vocabulary has {signed[0]!r}, which begins a word, and no {given!r}, which goes on with "
            f"one; write a blank before {mask}, or the token with its sign"
        )
    raise InputError(
        f"{row.place}: the vocabulary has no token {given[:60]!r}; give what belongs at the mask as one of its tokens"
    )


def _tokens(filling: Filling, head: Head) -> list[dict[str, Any]]:
    shifted = np.exp(filling.logits.astype(np.float64) - float(filling.logits.max()))
    chances = shifted / shifted.sum()
    return [{"token": head.labels[id], "score": float(chances[id])} for id in filling.best]


def _accuracy(cutoff: int) -> Metric:
    def statistics(gold: Any, ranks: Any) -> Array:
        known = ranks != UNKNOWN
        return np.stack([known & (ranks < cutoff), known], -1).astype(np.float64)

    name = "accuracy" if cutoff == 1 else f"accuracy@{cutoff}"
    return Metric(name=name, direction=HIGHER, statistics=statistics, formula="ratio")


def _divergence(reference: Sequence[Filling], outputs: Sequence[Filling]) -> Array:
    pairs = zip(reference, outputs, strict=True)  # one by one: all rows in float64 would be half a gigabyte
    return np.array([(float(divergence(a.logits, b.logits)), 1.0) for a, b in pairs])


def _squared_error(reference: Sequence[Filling], outputs: Sequence[Filling]) -> Array:
    pairs = zip(reference, outputs, strict=True)
    return np.array([squared_error(a.logits, b.logits) for a, b in pairs], np.float64)


TASK: Task = FillMask()
