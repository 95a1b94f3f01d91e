"""A regression gate's verdict as Markdown, for a pull request."""

from __future__ import annotations

import re

from bertc.core.number_text import figure
from bertc.evaluate.regression import Regression
from bertc.evaluate.scores import Score
from bertc.report.text import UNMOVED, ends_text, is_unmoved, lines_from_regression

LISTED_ROWS = 10


def markdown_from_regression(regression: Regression) -> str:
    """Return a Markdown summary for a pull request."""
    verdict = regression.verdict
    lines = [
        f"### Accuracy against the baseline: {'passed' if verdict.passed else 'not passed'}",
        "",
        _escaped(verdict.summary) + ".",
        "",
    ]
    lines += ["| metric | baseline | now | drop | 95 % interval |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [_table_line(score) for score in regression.scores]
    lines.append("")
    lines += [
        f"- {_escaped(text)}" for text in [*lines_from_regression(regression), *verdict.warnings, *regression.notes]
    ]
    for name, hashes in (("changed", regression.changed), ("vanished", regression.vanished)):
        if hashes:
            more = "" if len(hashes) <= LISTED_ROWS else f" and {len(hashes) - LISTED_ROWS} more"
            lines.append(f"- {name}: " + ", ".join(f"`{value}`" for value in hashes[:LISTED_ROWS]) + more)
    return "\n".join(lines) + "\n"


def _table_line(score: Score) -> str:
    values = " | ".join(map(figure, (score.reference, score.engine)))
    interval = UNMOVED if is_unmoved(score.drop_ci95) else ends_text(score.drop_ci95)
    return f"| {_escaped(score.metric)} | {values} | {figure(score.drop, sign=True)} | {interval} |"


def _escaped(text: str) -> str:
    return re.sub(r"([|`*_<>\[\]])", r"\\\1", text)
