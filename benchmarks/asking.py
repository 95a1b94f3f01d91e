"""Questions to a server, each beside the answer that `bertc predict` gives, as real clients ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Model = dict[str, Any]
Question = tuple[str, str, Callable[[], Any], Any]
"""The client, what it asks, the call, and what it has to give; an exception's class is what it has to raise."""

TOLERANCE = 1e-6


def asked(model: str, client: str, asks: str, call: Callable[[], Any], wanted: Any) -> dict[str, str]:
    """Ask one question; return the table's line."""
    try:
        found = call()
    except Exception as error:  # noqa: BLE001  whatever a client raises is its answer
        raised = isinstance(wanted, type) and isinstance(error, wanted)
        result = "equal" if raised else f"raises {type(error).__name__}: {error}".replace("\n", " ")[:200]
    else:
        result = "equal" if same(found, wanted) else f"differs: {found!r} and not {wanted!r}"[:2000]
    return {"client": client, "asks": asks, "model": model, "result": result}


def same(found: Any, wanted: Any) -> bool:
    """Say whether answers are equal; lists of numbers may differ by a millionth."""
    if isinstance(wanted, np.ndarray):
        return np.shape(found) == wanted.shape and bool(np.allclose(found, wanted, rtol=0, atol=TOLERANCE))
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list) and len(wanted) > 8 and isinstance(wanted[0], float):
        return same(np.array(found), np.array(wanted))
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(same(a, b) for a, b in zip(found, wanted, strict=True))
    return bool(found == wanted)
