"""What an engine runs before it answers anybody."""

from __future__ import annotations

import numpy as np

from bertc.core.feature import Feature
from bertc.jobs.predict import Predictor

LENGTH = 64
"""The longest text, in tokens."""

MOST_TOKENS = 1 << 15
"""Tokens that are run at most: who gives --batch-tokens a number without a meaning waited minutes for the start."""


def first_batch(predictor: Predictor, tokens: int) -> list[Feature]:
    """Return texts of several lengths, of random tokens, that have `tokens` of them together or a few more.

    They are no more than `MOST_TOKENS` or a few more.

    OpenVINO makes a product ready when it first meets its size: dozens of a server's first batches took four times as
    long as later ones, those after an exchange too.
    """
    draw = np.random.default_rng(0)
    vocabulary, longest = predictor.encoder.vocab_size, min(LENGTH, predictor.max_length)
    features: list[Feature] = []
    tokens = min(tokens, MOST_TOKENS)
    while tokens > 0:
        ids = draw.integers(1, vocabulary, draw.integers(1, longest, endpoint=True))
        features.append(Feature(input_ids=ids, token_type_ids=np.zeros_like(ids), row=len(features)))
        tokens -= len(ids)
    return features
