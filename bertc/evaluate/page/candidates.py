"""The engines that `--target auto-cpu` chose from, on the page."""

from __future__ import annotations

from collections.abc import Sequence

from bertc.evaluate.page.charts import bars
from bertc.evaluate.page.markup import Markup, fraction, section, significant, table, tag
from bertc.evaluate.report import CandidatePart

_NOTHING = "\N{EN DASH}"


def candidates_section(candidates: Sequence[CandidatePart]) -> Markup | None:
    """List the candidates by speed with the reason for or against each; nothing where the target was named."""
    if not candidates:
        return None
    slowest = max((max(_times(candidate), default=0.0) for candidate in candidates), default=0.0) or 1.0
    rows = []
    for candidate in candidates:
        times = _times(candidate)
        kind = "engine" if candidate.chosen else "other"
        drawing = bars([(time / slowest, kind) for time in times], title=f"{candidate.name}: alone, in batches")
        rows.append(
            (
                tag("strong", candidate.name) if candidate.chosen else candidate.name,
                drawing if times else "",
                *((significant(time) for time in times) if times else (_NOTHING, _NOTHING)),
                fraction(candidate.drop, sign=True),
                fraction(candidate.agreement),
                candidate.reason,
            )
        )
    head = ("engine", "", "alone", "in batches", "drop", "agreement", "reason")
    caption = "Milliseconds per text over a sample of the texts: one at a time, and as they arrive in batches"
    lead = "Every engine that was tried, the fastest first. The gates judge from the fastest on until one passes."
    body = table(head, rows, caption=caption, numbers=(2, 3, 4, 5))
    return section("Candidates", body, identity="candidates", note=lead)


def _times(candidate: CandidatePart) -> list[float]:
    both = (candidate.milliseconds_alone, candidate.milliseconds_batched)
    return [time for time in both if time is not None]
