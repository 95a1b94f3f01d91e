"""The walk on invented damages and times: it finds the small set, and evaluates nothing that would be too slow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bertc.ir.sites import Role, Site
from bertc.search.cost_model import CostModel
from bertc.search.walk import walk_sites

LAYERS = 4
ROLES = (Role.HIDDEN, Role.ACTIVATION, Role.OUTPUT_GEMM, Role.CONTEXT)


def cost_model(sensitivity: dict[Site, float], **cost: float) -> CostModel:
    sites = frozenset(Site(layer, role) for layer in range(LAYERS) for role in ROLES)
    return CostModel(
        sites=sites,
        sensitivity={site: sensitivity.get(site, 0.001) for site in sites},
        cost={role: cost.get(role, 1.0) for role in ROLES},
        milliseconds=10.0,
    )


class Judge:
    """Passes a set when the sensitivity of what is left in INT8 is small enough; remembers what it was asked."""

    def __init__(self, cost_model: CostModel, allowed: float) -> None:
        self.cost_model = cost_model
        self.allowed = allowed
        self.asked: list[frozenset[Site]] = []

    def __call__(self, sets: Sequence[frozenset[Site]]) -> list[bool]:
        self.asked += sets
        return [self.passes(sites) for sites in sets]

    def passes(self, sites: frozenset[Site]) -> bool:
        return sum(self.cost_model.sensitivity[site] for site in self.cost_model.sites - sites) <= self.allowed

    @property
    def fastest(self) -> frozenset[Site]:
        return min((sites for sites in self.asked if self.passes(sites)), key=self.cost_model.time)


def test_the_sites_that_hurt_are_found_and_nothing_else() -> None:
    bad = {Site(1, Role.HIDDEN): 5.0, Site(3, Role.ACTIVATION): 2.0}
    place = cost_model(bad, output_gemm=0.0)
    judge = Judge(place, allowed=0.1)
    walk_sites(place, judge, below=math.inf, most=64)
    assert judge.fastest - place.free() == set(bad)
    assert len(judge.asked) < 16


def test_time_counts_and_not_the_number_of_sites() -> None:
    """Four cheap sites that remove as much as one dear one are left in float before it."""
    sensitivity = {Site(layer, Role.CONTEXT): 1.0 for layer in range(LAYERS)} | {Site(0, Role.HIDDEN): 4.0}
    place = cost_model(sensitivity, context=0.1, hidden=5.0)
    judge = Judge(place, allowed=4.5)
    walk_sites(place, judge, below=math.inf, most=64)
    assert {site.role for site in judge.fastest} == {Role.CONTEXT}


def test_a_site_whose_damage_was_misjudged_goes_back() -> None:
    real = cost_model({Site(2, Role.ACTIVATION): 3.0})
    misjudged = cost_model({Site(0, Role.CONTEXT): 9.0, Site(2, Role.ACTIVATION): 3.0})
    judge = Judge(real, allowed=0.1)
    walk_sites(misjudged, judge, below=math.inf, most=64)
    assert judge.fastest == real.closed([Site(2, Role.ACTIVATION)])


def test_what_cannot_be_fast_enough_is_not_evaluated() -> None:
    place = cost_model({Site(1, Role.HIDDEN): 5.0})
    judge = Judge(place, allowed=0.0)
    walk_sites(place, judge, below=12.5, most=64)
    assert judge.asked
    assert all(place.time(sites) < 12.5 for sites in judge.asked)
    walk_sites(place, judge := Judge(place, allowed=1.0), below=10.5, most=64)
    assert not judge.asked


def test_without_a_set_that_passes_it_ends_at_once() -> None:
    place = cost_model({})
    judge = Judge(place, allowed=-1.0)
    walk_sites(place, judge, below=math.inf, most=64)
    assert len(judge.asked) == 1


def test_savings_against_a_disturbed_time_leave_some_of_it() -> None:
    """Every role alone seems to save nearly all, because the time that they are compared with was disturbed."""
    savings = dict.fromkeys(map(str, ROLES), -10.0 * 0.9 / LAYERS)
    place = cost_model({}, **savings)
    times = [place.time(place.closed(place.sites - {Site(0, Role.HIDDEN)})), place.time(place.sites)]
    assert 10.0 > times[0] > times[1] > 0.0
    one = Site(0, Role.HIDDEN)
    assert place.time(frozenset([one])) == pytest.approx(10.0 - 9.0 / LAYERS), "one alone is as it was measured"
    dear = cost_model({}, hidden=2.0, context=-1.0)
    sites = frozenset([one, Site(0, Role.CONTEXT), Site(1, Role.CONTEXT)])
    assert dear.time(sites) == pytest.approx(10.0 * 0.9 * 0.9 + 2.0)


def test_the_output_of_a_float_gemm_is_float_too() -> None:
    place = cost_model({})
    assert place.closed([Site(1, Role.ACTIVATION)]) == {Site(1, Role.ACTIVATION), Site(1, Role.OUTPUT_GEMM)}
    assert place.closed([Site(1, Role.OUTPUT_GEMM)]) == {Site(1, Role.OUTPUT_GEMM)}
    assert place.time(place.closed([Site(1, Role.ACTIVATION)])) == 11.0, "its time is in that of the GEMM's operand"


def test_a_role_whose_cost_is_within_the_noise_is_free() -> None:
    free = cost_model({}, output_gemm=0.02, context=0.03).free()
    assert {site.role for site in free} == {Role.OUTPUT_GEMM}
