"""The search on the page: its trials by time and share of the budget, and what stayed in float."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from bertc.evaluate.page.charts import Axis, axis_around
from bertc.evaluate.page.markup import Markup, fraction, join, section, significant, table, tag
from bertc.evaluate.report import SearchPart, TrialPart

_HEIGHT = 240  # of the plot, px
_TOP = 14
_LEAST, _MOST = 0.05, 20.0  # of the budget: what lies outside is drawn on the edge


def search_section(search: SearchPart | None) -> Markup | None:
    """Draw the trials, and list them with the sites that the chosen one leaves in float; nothing without a search."""
    if search is None:
        return None
    labels = "with their labels" if search.labelled else "without labels"
    lead = (
        f"{len(search.trials)} schemes on {search.rows:,} rows of calibration text that did not calibrate, {labels}. "
        "The budget used is the drop with its margin, or the share of changed decisions, as a part of what the gates "
        "allow. The validation data took no part."
    )
    return section(
        "Search", _verdict(search), _plot(search), _key(), _trials(search), _left(search), identity="search", note=lead
    )


def front(trials: Sequence[TrialPart]) -> list[int]:
    """Return the places of the trials that no other beats in both time and budget, fastest first."""
    order = sorted(range(len(trials)), key=lambda place: (trials[place].milliseconds, trials[place].used))
    found: list[int] = []
    for place in order:
        if not found or trials[place].used < trials[found[-1]].used:
            found.append(place)
    return found


def _verdict(search: SearchPart) -> Markup:
    chosen = search.trials[search.chosen]
    speed = search.start_milliseconds / chosen.milliseconds if chosen.milliseconds else math.nan
    said = f"The chosen scheme uses {chosen.used:.2f} of the budget and takes {significant(chosen.milliseconds)} ms"
    if math.isfinite(speed):
        said += f", {speed:.2f} times as fast as the scheme that the search began with"
    return tag("p", said + "." if search.passed else "No scheme stays within the budget. " + said + ".")


def _plot(search: SearchPart) -> Markup:
    """Draw time to the right and the budget used upwards, on a logarithmic scale; above 1 does not pass."""
    axis = axis_around(trial.milliseconds for trial in search.trials)
    floor, limit = _TOP + _HEIGHT, _height(1.0)
    drawn = [
        tag("rect", x=0, y=_TOP, width="100%", height=f"{limit - _TOP:.1f}", class_="beyond"),
        tag("line", x1=0, x2="100%", y1=f"{limit:.1f}", y2=f"{limit:.1f}", class_="limit"),
        tag("text", "budget", x="99%", y=f"{limit - 5:.1f}", text_anchor="end", class_="limit-label"),
        tag("line", x1=0, x2="100%", y1=floor, y2=floor, class_="axis"),
        *_numbers(axis, floor + 16),
    ]
    places = front(search.trials)
    for here, there in pairwise(places):
        drawn.append(_step(axis, search.trials[here], search.trials[there]))
    order = sorted(range(len(search.trials)), key=lambda place: (place == search.chosen, place in places))
    drawn += [_dot(axis, search.trials[p], chosen=p == search.chosen, best=p in places) for p in order]
    title = "Budget used over milliseconds of a batch, one dot per trial"
    picture = tag("svg", tag("title", title), *drawn, width="100%", height=floor + 24, role="img", aria_label=title)
    levels = tag(
        "svg", tag("title", "parts of the budget"), *_levels(), width="34", height=floor + 24, role="img",
        aria_label="parts of the budget",
    )  # fmt: skip
    return tag("div", levels, picture, class_="histogram")


def _height(used: float) -> float:
    low, high = math.log(_LEAST), math.log(_MOST)
    share = (math.log(min(max(used, _LEAST), _MOST)) - low) / (high - low)
    return _TOP + _HEIGHT * (1 - share)


def _dot(axis: Axis, trial: TrialPart, *, chosen: bool, best: bool) -> Markup:
    words = tag("title", f"{_name(trial)}: {significant(trial.milliseconds)} ms, {trial.used:.2f} of the budget")
    kind = "clipped" if chosen else "engine" if best else "other"
    place = {"cx": axis.at(trial.milliseconds), "cy": f"{_height(trial.used):.1f}"}
    return tag("circle", words, r=7.5 if chosen else 4.5, class_=kind, **place)


def _step(axis: Axis, here: TrialPart, there: TrialPart) -> Markup:
    ends = {"x1": axis.at(here.milliseconds), "y1": f"{_height(here.used):.1f}"}
    ends |= {"x2": axis.at(there.milliseconds), "y2": f"{_height(there.used):.1f}"}
    return tag("line", class_="zero", **ends)


def _numbers(axis: Axis, y: float) -> list[Markup]:
    return [
        tag("text", f"{significant(tick)} ms", x=axis.at(tick), y=y, text_anchor="middle", class_="tick")
        for tick in axis.ticks()
        if 0.04 < axis.share(tick) < 0.96
    ]


def _levels() -> list[Markup]:
    return [
        tag("text", f"{level:g}", x=30, y=f"{_height(level) + 4:.0f}", text_anchor="end", class_="tick")
        for level in (0.1, 0.3, 1.0, 3.0, 10.0)
    ]


def _key() -> Markup:
    kinds = (("clipped", "chosen"), ("engine", "beaten by none in both"), ("other", "other trials"))
    return tag("p", *(tag("span", name, class_=f"key {kind}") for kind, name in kinds), class_="keys")


def _name(trial: TrialPart) -> str:
    words = [trial.granularity]
    words += [f"smoothing {trial.smoothing:g}"] if trial.smoothing is not None else []
    return ", ".join([*words, f"float: {', '.join(trial.float_sites)}" if trial.float_sites else "all INT8"])


def _trials(search: SearchPart) -> Markup:
    rows = []
    for place, trial in enumerate(search.trials):
        mark = "chosen" if place == search.chosen else "within" if trial.passed else "beyond"
        kind = "pass" if trial.passed else "fail"
        rows.append(
            (
                _name(trial),
                significant(trial.milliseconds) if trial.timed else f"about {significant(trial.milliseconds)}",
                f"{trial.used:.2f}",
                f"{fraction(trial.drop, sign=True)} \N{PLUS-MINUS SIGN} {fraction(trial.drop_error)}",
                fraction(trial.agreement),
                tag("span", mark, class_=f"mark {kind}"),
            )
        )
    head = ("scheme", "ms", "budget used", "drop", "agreement", "")
    caption = f"Trials; ms of {search.batch} texts of {search.length} tokens, 'about' where the costs per role give it"
    return table(head, rows, caption=caption, numbers=(1, 2, 3, 4))


def _left(search: SearchPart) -> Markup | None:
    if not search.left:
        return None
    rows = [
        (left.site, significant(left.damage, 2), f"{left.milliseconds:+.3f}".replace("-", "\N{MINUS SIGN}"))
        for left in search.left
    ]
    caption = "Left in float: the damage of each alone in INT8 (mean square error of the scores), and the time of float"
    head = ("site", "damage spared", "ms")
    return join([table(head, rows, caption=caption, numbers=(1, 2))])
