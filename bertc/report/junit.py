"""Verdicts as JUnit XML, which continuous integration shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from bertc.evaluate.gates import Verdict
from bertc.evaluate.regression import Regression
from bertc.report.text import lines_from_regression

# What XML 1.0 does not allow even as an entity.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
        regression.verdict, suite="bertc gate", notes=[*lines_from_regression(regression), *regression.notes]
    )


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
