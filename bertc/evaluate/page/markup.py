"""Markup that cannot be injected into, and figures as a reader wants them.

Every plain string that becomes an element's content or attribute is escaped; only what `tag` made is markup. Labels,
paths and messages in a report come from checkpoints and data sets, which may be hostile.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

_PROSE = 40  # characters from which a cell is a text that must not become a column of single words
_VOID = frozenset({"meta", "line", "rect", "circle"})


class Markup(str):
    """Text that is already HTML. Only this module and constants make it."""

    __slots__ = ()


def tag(name: str, *content: str | None, **attributes: str | float | None) -> Markup:
    """Make an element; plain strings are escaped, None is left out, `class_` and `aria_label` lose their underscores.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not content:
        return Markup(f"<{name}{named}>" if name == "meta" else f"<{name}{named}/>")
    return Markup(f"<{name}{named}>{join(content)}</{name}>")


def join(parts: Iterable[str | None]) -> Markup:
    """Put markup and (escaped) text one after the other; None is left out."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in parts if part is not None)
    )


def table(
    head: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    caption: str,
    numbers: Iterable[int] = (),
    hide_caption: bool = False,
) -> Markup:
    """Make a table that scrolls sideways when it must; the first column heads its row, `numbers` are set right."""
    right = frozenset(numbers)

    def cell(name: str, index: int, value: str, scope: str | None = None) -> Markup:
        prose = "prose" if not isinstance(value, Markup) and len(value) > _PROSE else None
        return tag(name, value, scope=scope, class_="number" if index in right else prose)

    lines = [
        tag("tr", *(cell("td" if i else "th", i, value, None if i else "row") for i, value in enumerate(row)))
        for row in rows
    ]
    titles = tag("tr", *(cell("th", i, title, "col") for i, title in enumerate(head)))
    inner = tag(
        "table",
        tag("caption", tag("span", caption, class_="hidden" if hide_caption else None)),
        tag("thead", titles),
        tag("tbody", *lines),
    )
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def section(title: str, *content: str | None, identity: str, note: str | None = None) -> Markup:
    """Make a titled section; `note` says under the title how to read it."""
    lead = tag("p", note, class_="lead") if note else None
    return tag("section", tag("h2", title, id=identity), lead, *content, aria_labelledby=identity)


def fraction(value: float | None, *, sign: bool = False) -> str:
    """Write a metric or drop with four decimals.

    >>> fraction(-0.00117, sign=True)
    '\N{MINUS SIGN}0.0012'
    """
    if value is None:
        return "\N{EN DASH}"
    text = f"{abs(value):.4f}"
    if float(text) == 0:
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+" if sign else "") + text


def significant(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits and no exponent where that is short.

    >>> significant(1234.5), significant(0.01234), significant(2.0)
    ('1230', '0.0123', '2.00')
    """
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}"
    if "e" in text:
        return f"{float(text):.0f}" if 1 <= abs(value) < 1e7 else f"{value:.{digits - 1}e}"
    return text.rstrip(".").replace("-", "\N{MINUS SIGN}")


def plain_name(name: str) -> str:
    """Write the name of a metric or fused node as words."""
    return name.replace("_", " ")


def moment(created: str) -> str:
    """Write an ISO time in UTC as people read it; anything else stays as it is.

    >>> moment("2026-11-21T09:14:52+00:00")
    '2026-11-21 09:14 UTC'
    """
    date, separator, time = created.partition("T")
    return f"{date} {time[:5]} UTC" if separator and time.endswith(("+00:00", "Z")) else created


def percent(value: float, digits: int = 2) -> str:
    """Write a fraction as a percentage."""
    return f"{value * 100:.{digits}f} %"


def size(count: int) -> str:
    """Write a number of bytes in MB or kB.

    >>> size(22_900_000)
    '22.9 MB'
    """
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Write seconds, and minutes from two on."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def digest(value: str) -> Markup:
    """Write the first 12 characters of a digest, the whole in its title."""
    return tag("code", value[:12] + ("\N{HORIZONTAL ELLIPSIS}" if len(value) > 12 else ""), title=value)
