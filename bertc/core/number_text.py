"""Numbers of a verdict as text, on the command line and in every sentence that a gate says."""

from __future__ import annotations

import math

NOTHING = 1e-9
"""Differences of equal values are of this order; they are no news."""


def figure(value: float | None, *, sign: bool = False) -> str:
    """Write a metric or a drop with four decimals, and in scientific notation where those would all be 0.

    >>> figure(0.8922), figure(0.0000312), figure(0.0), figure(None)
    ('0.8922', '3.1e-05', '0.0000', 'undefined')
    >>> figure(0.0123, sign=True), figure(-0.00001, sign=True), figure(0.0, sign=True)
    ('+0.0123', '-1.0e-05', '0.0000')
    """
    if value is None or math.isnan(value):
        return "undefined"
    if abs(value) < NOTHING:
        return "0.0000"
    digits = ".1e" if float(f"{value:.4f}") == 0 else ".4f"
    return f"{value:{'+' if sign else ''}{digits}}"
