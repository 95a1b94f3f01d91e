"""What the lowering for a target may depend on, beside the graph itself."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.core.keys import Key, key_of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine is to be made: its kind of attention (None: the target's own choice), and the shapes it will see.

    `lengths` are the token counts of known texts, `longest` is the most tokens of any; both are hints, except to a
    target that compiles for ranges of shapes. `exit_threshold` is the uncertainty under which a text leaves, for a
    target that lets texts leave and a graph with exits; None: all are computed.
    """

    attention: str | None = None
    lengths: tuple[int, ...] = ()
    longest: int = 512
    exit_threshold: float | None = None

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


DEFAULT_OPTIONS = EngineOptions()
