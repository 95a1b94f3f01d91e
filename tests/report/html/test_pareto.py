"""The search on the page: every trial is a dot, the chosen one is marked, and without a search there is nothing."""

from __future__ import annotations

import re

from bertc.report.choice import LeftPart, SearchPart, TrialPart
from bertc.report.html.page import html_from_report
from bertc.report.html.pareto import front
from tests.report.sample_report import sample_report


def trial(milliseconds: float, used: float, *, float_sites: tuple[str, ...] = ()) -> TrialPart:
    return TrialPart(
        granularity="channel",
        smoothing=0.85,
        float_sites=float_sites,
        used=used,
        passed=used <= 1,
        drop=0.001,
        drop_error=0.002,
        agreement=0.99,
        milliseconds=milliseconds,
        timed=used <= 1,
    )


TRIALS = (trial(10, 9.0), trial(12, 0.8, float_sites=("<b>gelu",)), trial(14, 0.9), trial(20, 0.1), trial(9.5, 1e6))


def searched(**changes: object) -> SearchPart:
    part = SearchPart(
        passed=True,
        rows=1024,
        labelled=True,
        batch=8,
        length=24,
        float_milliseconds=40.0,
        start_milliseconds=10.0,
        trials=TRIALS,
        chosen=1,
        left=(LeftPart(site="layer.0.gelu", sensitivity=0.5, milliseconds=-0.25),),
    )
    return part.model_copy(update=changes)


def drawn(search: SearchPart) -> str:
    """Return the section of the page that shows a search."""
    page = html_from_report(sample_report().model_copy(update={"search": search}))
    (section,) = re.findall(r'<section aria-labelledby="search">.*?</section>', page, flags=re.DOTALL)
    return str(section)


def test_the_front_is_what_no_other_beats_in_both() -> None:
    assert front(TRIALS) == [4, 0, 1, 3]
    assert front(TRIALS[:1]) == [0]


def test_every_trial_is_a_dot_and_one_is_chosen() -> None:
    section = drawn(searched())
    assert section.count("<circle") == len(TRIALS)
    assert section.count('r="7.5"') == section.count('class="clipped"') == 1
    assert "0.83 times as fast" in section and "about 10" in section
    assert "layer.0.gelu" in section and "\N{MINUS SIGN}0.250" in section
    assert "<b>" not in section and "NaN" not in section


def test_nothing_that_passes_is_said() -> None:
    assert "No scheme stays within" in drawn(searched(passed=False, chosen=0))
    assert "No scheme stays within" not in drawn(searched())


def test_the_page_has_the_section_only_after_a_search() -> None:
    report = sample_report()
    assert 'id="search"' not in html_from_report(report)
    assert 'id="search"' in html_from_report(report.model_copy(update={"search": searched()}))


def test_one_trial_and_no_time_are_drawn() -> None:
    section = drawn(searched(trials=(trial(0.0, 0.0),), chosen=0, left=()))
    assert section.count("<circle") == 1 and "nan" not in section and "times as fast" not in section
