"""What a student is trained for: its task's labels, and its teacher's outputs, hidden states and attention.

Every loss is a sum over its units (texts, outputs, tokens), divided by the units of the whole step, so that a step
weighs the same however it is cut into parts and processes. All are in float32 and counted in nats or as a relative
squared error, so that their weights do not depend on the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bertc.core.batch import batch_from_features
from bertc.core.example import IGNORED, Example
from bertc.core.head import Head
from bertc.evaluate.losses import LOWEST, kl_divergence, relative_error
from bertc.evaluate.task import Tensors
from bertc.tasks import task_from_name
from bertc.train.batches import Order, Units

Tensor = torch.Tensor

LABELS, LOGITS, HIDDEN, ATTENTION = "labels", "logits", "hidden", "attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some examples, padded to one length: the network's inputs, and what its outputs are compared with.

    `mask` bool [B, S] is True for a token, `seen` for one that others attend to; `scored` and `gold` as in `Example`,
    padded and stacked; `known` bool [B] says which examples have a label.
    """

    feeds: dict[str, Tensor]
    mask: Tensor
    seen: Tensor
    scored: Tensor | None
    gold: Tensor | None
    known: Tensor


def part_from_examples(examples: Sequence[Example] | Mapping[int, Example], order: Order, device: torch.device) -> Part:
    """Pad and stack the examples at `order`."""
    chosen = [examples[place] for place in order]
    batch = batch_from_features([example.feature for example in chosen], range(len(chosen)))
    length = batch.input_ids.shape[1]
    scored = None
    if chosen[0].scored is not None:
        scored = np.zeros(batch.input_ids.shape, bool)
        for row, example in enumerate(chosen):
            assert example.scored is not None
            scored[row, : example.feature.length] = example.scored
    names = ("input_ids", "attention_mask", "token_type_ids")
    return Part(
        feeds={name: torch.from_numpy(array).to(device) for name, array in batch.feeds(names).items()},
        mask=torch.from_numpy(batch.mask != 0).to(device),
        seen=torch.from_numpy(batch.mask > 0).to(device),
        scored=None if scored is None else torch.from_numpy(scored).to(device),
        gold=_stacked_gold(chosen, length, device),
        known=torch.tensor([example.gold is not None for example in chosen], device=device),
    )


def _stacked_gold(chosen: Sequence[Example], length: int, device: torch.device) -> Tensor | None:
    """Stack what has a label, padding what has one entry per token; examples without one get a row of nothing."""
    first = next((example.gold for example in chosen if example.gold is not None), None)
    if first is None:
        return None
    per_token = chosen[0].scored is not None
    shape = (*first.shape[:-1], length) if per_token else first.shape
    stacked = np.full((len(chosen), *shape), IGNORED if first.dtype == np.int64 else 0, first.dtype)
    for row, example in enumerate(chosen):
        if example.gold is not None:
            stacked[(row, ..., slice(example.feature.length)) if per_token else row] = example.gold
    return torch.from_numpy(stacked).to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The weighted sum of losses that is minimised.

    `weights` has the losses that count: "labels" and what is distilled. `layers` are the teacher's layer that each of
    the student's is compared with, `heads` the teacher's heads that each of its layers has, None for all; `scaling`
    (1 / sqrt(head size)) is that of both.
    """

    head: Head
    weights: Mapping[str, float]
    temperature: float
    layers: tuple[int, ...]
    scaling: float
    heads: tuple[tuple[int, ...], ...] | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the inner values that the losses read in the student."""
        return tuple(ours for ours, _ in (*self.hidden_pairs(), *self.attention_pairs()))

    @property
    def wanted_of_teacher(self) -> tuple[str, ...]:
        """Names of those that they are compared with."""
        return tuple(theirs for _, theirs in (*self.hidden_pairs(), *self.attention_pairs()))

    def hidden_pairs(self) -> list[tuple[str, str]]:
        """Return the names of hidden states, student's and teacher's: what goes into the first layer, and what comes
        out of each."""
        if HIDDEN not in self.weights:
            return []
        inputs = [0, *(layer + 1 for layer in self.layers[:-1])]  # a layer's output is the next one's input
        between = [(f"layer.{ours}.hidden", f"layer.{theirs}.hidden") for ours, theirs in enumerate(inputs)]
        return [*between, ("encoder.output", "encoder.output")]

    def attention_pairs(self) -> list[tuple[str, str]]:
        """Return the names of attention's scores, student's and teacher's."""
        if ATTENTION not in self.weights:
            return []
        return [(f"layer.{ours}.scores", f"layer.{theirs}.scores") for ours, theirs in enumerate(self.layers)]

    def losses(self, student: Tensors, teacher: Tensors, part: Part, units: Units) -> dict[str, Tensor]:
        """Return each loss of a part, its sum divided by the units of the whole step."""
        found: dict[str, Tensor] = {}
        if LABELS in self.weights:
            found[LABELS] = label_loss(self.head, student, part) / max(units.labelled, 1)
        if LOGITS in self.weights:
            task = task_from_name(self.head.task)
            loss = task.logit_loss(self.head, student, teacher, part, self.temperature)
            found[LOGITS] = loss / max(units.outputs, 1)
        if HIDDEN in self.weights:
            pairs = [(student[ours], teacher[theirs]) for ours, theirs in self.hidden_pairs()]
            found[HIDDEN] = hidden_loss(pairs, part.mask) / units.tokens
        if ATTENTION in self.weights:
            pairs = self._attention_values(student, teacher)
            found[ATTENTION] = attention_loss(pairs, part.mask, part.seen, self.scaling) / units.tokens
        return found

    def _attention_values(self, student: Tensors, teacher: Tensors) -> list[tuple[Tensor, Tensor]]:
        """Return the scores of both [B, heads, S, S], the teacher's of the heads that the student has."""
        values = [(student[ours], teacher[theirs]) for ours, theirs in self.attention_pairs()]
        if self.heads is None:
            return values
        return [(ours, theirs[:, list(kept)]) for (ours, theirs), kept in zip(values, self.heads, strict=True)]

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


def label_loss(head: Head, outputs: Tensors, part: Part) -> Tensor:
    """Return the task's own loss, summed over what is labelled; 0, with a gradient, where nothing is."""
    if part.gold is None:
        return next(iter(outputs.values())).sum() * 0.0
    return task_from_name(head.task).label_loss(head, outputs, part)


def hidden_loss(pairs: Sequence[tuple[Tensor, Tensor]], mask: Tensor) -> Tensor:
    """Return |student - teacher|^2 / |teacher|^2 of every token's vector, averaged over layers, summed over tokens.

    As TinyBERT's hidden loss (Jiao et al. 2020, arXiv:1909.10351, eq. 8), made relative so that layers count alike.
    """
    return torch.stack([(relative_error(ours, theirs) * mask).sum() for ours, theirs in pairs]).mean()


def attention_loss(pairs: Sequence[tuple[Tensor, Tensor]], mask: Tensor, seen: Tensor, scaling: float) -> Tensor:
    """Return KL(teacher || student) of the attention, averaged over layers and heads, summed over tokens (queries).

    As in MiniLM (Wang et al. 2020, arXiv:2002.10957, eq. 4), of every layer. pairs: raw scores [B, heads, S, S], on
    which the softmax of `scaling` times the score over the keys that are seen gives the attention.
    """
    hidden = ~seen[:, None, None, :]
    distances = []
    for ours, theirs in pairs:
        shown = [(scores.float() * scaling).masked_fill(hidden, LOWEST) for scores in (ours, theirs)]
        distances.append((kl_divergence(*shown).mean(1) * mask).sum())
    return torch.stack(distances).mean()
