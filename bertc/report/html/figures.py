"""Figures as a reader wants them: the page's only place where numbers become text. A value that is not there is a dash.

Minus signs are typographic; a metric has four decimals, a measured amount three significant digits.
"""

from __future__ import annotations

from bertc.core.number_text import NOTHING
from bertc.report.text import UNMOVED, is_unmoved

_DECIMALS = 4
_NOTHING = "\N{EN DASH}"


def fraction(value: float | None, *, sign: bool = False, digits: int = _DECIMALS) -> str:
    """Write a metric, drop or ratio with so many decimals; in scientific notation where all four would be 0.

    >>> fraction(-0.00117, sign=True), fraction(0.0000312), fraction(0.0)
    ('\N{MINUS SIGN}0.0012', '3.1e\N{MINUS SIGN}05', '0.0000')
    """
    if value is None:
        return _NOTHING
    text = f"{abs(value):.{digits}f}"
    if abs(value) < NOTHING or (float(text) == 0 and digits < _DECIMALS):
        return text
    if float(text) == 0:
        text = f"{abs(value):.1e}".replace("-", "\N{MINUS SIGN}")
    return ("\N{MINUS SIGN}" if value < 0 else "+" if sign else "") + text


def significant(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits and no exponent where that is short.

    >>> significant(1234.5), significant(0.01234), significant(2.0)
    ('1230', '0.0123', '2.00')
    """
    if value is None:
        return _NOTHING
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}"
    if "e" in text:
        return f"{float(text):.0f}" if 1 <= abs(value) < 1e7 else f"{value:.{digits - 1}e}"
    return text.rstrip(".").replace("-", "\N{MINUS SIGN}")


def interval(ends: tuple[float, float] | None, before: str = "") -> str:
    """Write both ends of an interval of a drop behind `before`; of rows of which none gained or lost, that alone.

    >>> interval((-0.00117, 0.02)), interval((0.0, 0.0), "95 %: ")
    ('\N{MINUS SIGN}0.0012 to +0.0200', 'no row gains or loses')
    """
    if ends is None:
        return _NOTHING
    return UNMOVED if is_unmoved(ends) else f"{before}{fraction(ends[0], sign=True)} to {fraction(ends[1], sign=True)}"


def percent(value: float, digits: int = 2) -> str:
    """Write a fraction as a percentage."""
    return f"{value * 100:.{digits}f} %"


def times(value: float) -> str:
    """Write a ratio as a factor.

    >>> times(1.5)
    '1.50\N{MULTIPLICATION SIGN}'
    """
    return f"{value:.2f}\N{MULTIPLICATION SIGN}"


def thousands(value: int) -> str:
    """Write a number of things with commas at the thousands."""
    return f"{value:,}"


def size(value: int) -> str:
    """Write a number of bytes in MB or kB.

    >>> size(22_900_000)
    '22.9 MB'
    """
    return f"{value / 1e6:.1f} MB" if value >= 1_000_000 else f"{value / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Write seconds, and minutes from two on."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def moment(created: str) -> str:
    """Write an ISO time in UTC as people read it; anything else stays as it is.

    >>> moment("2026-11-21T09:14:52+00:00")
    '2026-11-21 09:14 UTC'
    """
    date, separator, time = created.partition("T")
    return f"{date} {time[:5]} UTC" if separator and time.endswith(("+00:00", "Z")) else created


def plain_name(name: str) -> str:
    """Write the name of a metric or fused node as words."""
    return name.replace("_", " ")


def capital(name: str) -> str:
    """Write such a name as the first words of a sentence."""
    return name[:1].upper() + plain_name(name[1:])
