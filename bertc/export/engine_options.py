"""What the lowering for a target may depend on, beside the graph itself."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.core.keys import Key, key_of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine is to be made: its kind of attention (None: the target's own choice), and the shapes it will see.

    `lengths` are the token counts of known texts, `longest` is the most tokens of any; both are hints, except to a
    target that compiles for ranges of shapes.
    """

    attention: str | None = None
    lengths: tuple[int, ...] = ()
    longest: int = 512

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


DEFAULT_OPTIONS = EngineOptions()
