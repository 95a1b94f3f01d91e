"""Texts with some of their tokens replaced by random ones, for a student to follow its teacher on.

On the texts that a teacher was trained on it is certain, so that its outputs say little about where its decisions
change; and text in production is not that of the training data. On a text with words that do not belong there the
teacher still has an answer, and most of them are near a decision (docs/decisions/0007-replaced-tokens.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bertc.core.example import Example
from bertc.train.batches import Order

WHOLE = 0.25
"""Part of the texts that stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """How tokens are replaced: the share in a text is even between 0 and `share`, a quarter of the texts stay whole.

    `vocabulary` int64 [tokens] are the ids of ordinary tokens: others (separators, say) are neither put in nor taken
    out.
    """

    share: float
    vocabulary: NDArray[np.int64]
    seed: int

    def step_examples(self, examples: Sequence[Example], step: Sequence[Order], number: int) -> Mapping[int, Example]:
        """Return the examples of step `number` by their place in the data: the same in every process, and again.

        An example with a replaced token has no label any more, only its teacher's outputs.
        """
        return {place: self._replaced(examples[place], (self.seed, number, place)) for batch in step for place in batch}

    def _replaced(self, example: Example, seed: tuple[int, int, int]) -> Example:
        generator = np.random.default_rng(seed)
        rate = self.share * (generator.random() - WHOLE) / (1 - WHOLE)
        ids = example.feature.input_ids
        chosen = (generator.random(ids.size) < rate) & np.isin(ids, self.vocabulary)
        if not chosen.any():
            return example
        mixed = np.where(chosen, generator.choice(self.vocabulary, ids.size), ids)
        return replace(example, feature=replace(example.feature, input_ids=mixed), gold=None, labelled=0)
