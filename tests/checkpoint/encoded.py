"""One text through an encoder."""

from __future__ import annotations

from bertc.checkpoint import EncodedText, TextEncoder


def encoded(encoder: TextEncoder, text: str, pair: str | None = None, *, max_length: int | None = None) -> EncodedText:
    """Encode one text, or one pair."""
    return encoder.encode_batch([text], None if pair is None else [pair], max_length=max_length)[0]
