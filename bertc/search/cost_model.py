"""What a search of one scheme walks over: its sites, what each costs in accuracy as INT8 and in time as float."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bertc.calibrate.smoothing import CONSUMERS
from bertc.ir.sites import Role, Site

NOISE = 0.01
"""Part of an engine's time below which a difference is no difference."""

OPERAND = {gemm: operand for operand, gemms in CONSUMERS.items() for gemm in gemms}
"""GEMM -> the role that it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """One scheme's sites in INT8.

    `sensitivity` is the mean squared error of the outputs with one site alone quantized; `cost` the milliseconds that
    one site of a role adds when it is left in float (negative: float is faster); `milliseconds` the time of the engine
    with all sites in INT8.
    """

    sites: frozenset[Site]
    sensitivity: Mapping[Site, float]
    cost: Mapping[Role, float]
    milliseconds: float

    def closed(self, sites: Iterable[Site]) -> frozenset[Site]:
        """Add what must follow into float.

        A GEMM that runs in float gains nothing from an INT8 output; and scores are INT8 only beside INT8 probs.
        """
        chosen = set(sites)
        for site in tuple(chosen):
            chosen.update(Site(site.layer, gemm) for gemm in CONSUMERS.get(site.role, ()))
            if site.role is Role.PROBS:
                chosen.add(Site(site.layer, Role.SCORES))
        return frozenset(chosen) & self.sites

    def time(self, sites: frozenset[Site]) -> float:
        """Return the modelled milliseconds with some sites in float.

        Costs add to the engine's own time; savings each take their part of it. All are differences to one time, and
        where that was disturbed, savings that added up would leave less than nothing.
        """
        own = Counter(site.role for site in self._own(sites))
        costs = {role: self.cost.get(role, 0.0) for role in sorted(own)}
        added = sum(cost * own[role] for role, cost in costs.items() if cost > 0)
        left = math.prod((1 + cost / self.milliseconds) ** own[role] for role, cost in costs.items() if cost < 0)
        return self.milliseconds * left + added

    def free(self) -> frozenset[Site]:
        """Return the sites that cost no time in float."""
        sites = [site for site in self.sites if self._per_role(site.role) <= NOISE * self.milliseconds]
        return self.closed(sites)

    def order(self) -> tuple[Site, ...]:
        """Return the other sites, most sensitivity removed per millisecond first."""
        rest = self.sites - self.free()
        return tuple(sorted(rest, key=lambda site: (-self.sensitivity[site] / self.cost[site.role], site)))

    def _per_role(self, role: Role) -> float:
        return self.cost.get(role, 0.0) * sum(site.role is role for site in self.sites)

    def _own(self, sites: frozenset[Site]) -> frozenset[Site]:
        """Leave out the outputs of float GEMMs, whose time belongs to their operand's."""
        return frozenset(
            site for site in sites if site.role not in OPERAND or Site(site.layer, OPERAND[site.role]) not in sites
        )
