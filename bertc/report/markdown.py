"""Verdicts as text for other machines and for pull requests: JUnit XML and Markdown. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from bertc.core.figures import figure
from bertc.evaluate.gates import Verdict
from bertc.evaluate.regression import Regression
from bertc.evaluate.scores import Score

# What XML 1.0 does not allow even as an entity.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LISTED_ROWS = 10


def junit_from_verdict(verdict: Verdict, *, suite: str = "bertc", notes: Sequence[str] = ()) -> str:
    """Return JUnit XML: a test case per gate, a failure for each that did not pass; warnings and notes as output."""
    failures = sum(gate.verdict != "pass" for gate in verdict.gates)
    root = ElementTree.Element(
        "testsuite", name=_clean(suite), tests=str(len(verdict.gates)), failures=str(failures), errors="0", skipped="0"
    )
    for gate in verdict.gates:
        case = ElementTree.SubElement(
            root, "testcase", classname=_clean(suite), name=_clean(f"{gate.metric} {gate.limit}")
        )
        if gate.verdict != "pass":
            failure = ElementTree.SubElement(case, "failure", type=gate.verdict, message=_clean(gate.reason))
            failure.text = _clean(gate.reason)
    said = [*verdict.warnings, *notes]
    if said:
        ElementTree.SubElement(root, "system-out").text = _clean("\n".join(said))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def junit_from_regression(regression: Regression) -> str:
    """Return JUnit XML of a regression gate, its row counts and notes as output."""
    return junit_from_verdict(
        regression.verdict, suite="bertc gate", notes=[*_row_lines(regression), *regression.notes]
    )


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
    lines += [f"- {_escaped(text)}" for text in [*_row_lines(regression), *verdict.warnings, *regression.notes]]
    for name, hashes in (("changed", regression.changed), ("vanished", regression.vanished)):
        if hashes:
            more = "" if len(hashes) <= LISTED_ROWS else f" and {len(hashes) - LISTED_ROWS} more"
            lines.append(f"- {name}: " + ", ".join(f"`{value}`" for value in hashes[:LISTED_ROWS]) + more)
    return "\n".join(lines) + "\n"


def _row_lines(regression: Regression) -> list[str]:
    counts = (
        (len(regression.flipped), "decided otherwise than in the baseline"),
        (len(regression.changed), "with another label than in the baseline, left out"),
        (len(regression.vanished), "of the baseline missing in this run"),
        (len(regression.added), "not in the baseline, left out"),
    )
    found = [f"{count} {'row' if count == 1 else 'rows'} {text}" for count, text in counts if count]
    return [f"{regression.paired} {'row' if regression.paired == 1 else 'rows'} paired", *found]


def _table_line(score: Score) -> str:
    values = " | ".join(map(figure, (score.reference, score.engine)))
    drop, *bounds = (figure(value, sign=True) for value in (score.drop, *score.drop_ci95))
    return f"| {_escaped(score.metric)} | {values} | {drop} | {' to '.join(bounds)} |"


def _escaped(text: str) -> str:
    return re.sub(r"([|`*_<>\[\]])", r"\\\1", text)


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
