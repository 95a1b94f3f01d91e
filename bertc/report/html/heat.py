"""The heat map of errors, layers by roles: every site on one of seven logarithmic steps between least and most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertc.ir.sites import Role
from bertc.report.schema import SitePart

_STEPS = 7
_ORDER = tuple(role.value for role in Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Sites by role and layer; `edges` are the upper edges of all steps but the last."""

    roles: Sequence[str]
    layers: Sequence[int]
    sites: Mapping[tuple[str, int], SitePart]
    edges: Sequence[float]

    def step(self, error: float) -> int:
        """Return the step of an error, 0 for the least."""
        return sum(error > edge for edge in self.edges)

    @property
    def quiet(self) -> list[str]:
        """The roles of a transformer layer that no site has: the scheme leaves them in float."""
        return [role for role in _ORDER if role not in self.roles]

    @property
    def some_float(self) -> bool:
        """Whether a site of the scheme stayed in float."""
        return any(not site.lowered for site in self.sites.values())


def heat_from_sites(sites: Sequence[SitePart]) -> HeatMap | None:
    """Arrange sites, roles in the order of the data and those this version does not know last; None without errors."""
    errors = [site.error for site in sites if site.error is not None]
    if not errors:
        return None
    roles = {site.role for site in sites}
    return HeatMap(
        roles=sorted(roles, key=lambda role: (_ORDER.index(role) if role in _ORDER else len(_ORDER), role)),
        layers=sorted({site.layer for site in sites}),
        sites={(site.role, site.layer): site for site in sites},
        edges=_edges(errors),
    )


def _edges(errors: Sequence[float]) -> list[float]:
    """Return edges that are equal in ratio between the smallest and the largest error."""
    low = max(min(errors), max(errors) * 1e-3, 1e-9)
    high = max(*errors, low * 1.001)
    return [low * (high / low) ** ((step + 1) / _STEPS) for step in range(_STEPS - 1)]
