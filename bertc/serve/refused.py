"""Why a request is not answered, apart from how a protocol says so."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Reason(Enum):
    """A kind of refusal, with a word of its own and the HTTP status that most protocols give it."""

    MALFORMED = "malformed", 400
    EMPTY = "empty", 400
    UNAUTHORIZED = "unauthorized", 401
    UNKNOWN = "unknown", 404
    METHOD = "method", 405
    TOO_LARGE = "too large", 413
    INVALID = "invalid", 422
    OVERLOADED = "overloaded", 429
    BROKEN = "broken", 500
    UNREADY = "unready", 503
    LATE = "late", 504

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]


class RefusalError(Exception):
    """A request is refused: the reason, and a sentence for the client. `retry_after` is in seconds."""

    def __init__(self, reason: Reason, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


def check_text(texts: Sequence[Sequence[str]]) -> None:
    """Raise `RefusalError` for a text or pair without anything in it."""
    for number, each in enumerate(texts):
        if not any(text.strip() for text in each):
            raise RefusalError(Reason.EMPTY, f"text {number} is empty")
