"""How a range is chosen from what was seen at a site, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.core.keys import Key, key_of_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeMethod:
    """A calibrator by name, and the percentile for the one that uses it; None is each role's own percentile."""

    calibrator: str = "percentile"
    percentile: float | None = None

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)
