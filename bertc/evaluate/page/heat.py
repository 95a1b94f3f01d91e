"""The heat map of errors, layers by roles: a table whose cells are coloured on seven logarithmic steps of one hue."""

from __future__ import annotations

from collections.abc import Sequence

from bertc.evaluate.page.markup import Markup, significant, tag
from bertc.evaluate.report import SitePart
from bertc.graph.sites import Role

_STEPS = 7
_ORDER = tuple(role.value for role in Role)


def heat_map(sites: Sequence[SitePart]) -> Markup | None:
    """Draw the errors of sites, roles downwards and layers across; None if no site has an error."""
    errors = [site.error for site in sites if site.error is not None]
    if not errors:
        return None
    edges = _edges(errors)
    by_place = {(site.role, site.layer): site for site in sites}
    layers = sorted({site.layer for site in sites})
    caption = "Relative error of each site in percent: rms(engine \N{MINUS SIGN} float) / rms(float)"
    head = tag("tr", tag("th", "role", scope="col"), *(tag("th", str(layer), scope="col") for layer in layers))
    lines = [
        tag("tr", tag("th", role, scope="row"), *(_cell(by_place.get((role, layer)), edges) for layer in layers))
        for role in _roles(sites)
    ]
    group = tag("tr", tag("td"), tag("th", "layer", scope="colgroup", colspan=len(layers)), class_="group")
    inner = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", group, head),
        tag("tbody", *lines),
        class_="heat",
        style=f"max-width:{140 + 100 * len(layers)}px",
    )
    return Markup(
        tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption) + _legend(edges, sites)
    )


def quiet_roles(sites: Sequence[SitePart]) -> tuple[str, ...]:
    """List the roles of a transformer layer that no site has: the scheme leaves them in float."""
    present = {site.role for site in sites}
    return tuple(role for role in _ORDER if role not in present)


def _roles(sites: Sequence[SitePart]) -> list[str]:
    """Return the roles that occur, in the order of the data; those this version does not know come last."""
    return sorted({site.role for site in sites}, key=lambda role: (_ORDER.index(role) if role in _ORDER else 99, role))


def _cell(site: SitePart | None, edges: Sequence[float]) -> Markup:
    if site is None:
        return tag("td", tag("span", "no site", class_="hidden"), class_="none")
    if not site.lowered:
        return tag("td", "float", class_="none", title=f"{site.site} stayed in float")
    if site.error is None:
        return tag("td", "?", class_="none", title=f"{site.site} was not measured")
    shown = _figure(site.error)
    return tag("td", shown, class_=f"h{_step(site.error, edges)}", title=f"{site.site}: error {shown} %")


def _figure(error: float) -> str:
    return significant(100 * error, 2)


def _edges(errors: Sequence[float]) -> list[float]:
    """Return the upper edges of all steps but the last, equal in ratio between the smallest and the largest error."""
    low = max(min(errors), max(errors) * 1e-3, 1e-9)
    high = max(*errors, low * 1.001)
    return [low * (high / low) ** ((step + 1) / _STEPS) for step in range(_STEPS - 1)]


def _step(error: float, edges: Sequence[float]) -> int:
    return sum(error > edge for edge in edges)


def _legend(edges: Sequence[float], sites: Sequence[SitePart]) -> Markup:
    texts = ["up to " + _figure(edges[0])]
    texts += [f"to {_figure(edge)}" for edge in edges[1:]]
    texts.append("more")
    keys = [tag("li", text, class_=f"h{step}") for step, text in enumerate(texts)]
    if any(not site.lowered for site in sites):
        keys.append(tag("li", "float", class_="none"))
    return tag("ul", *keys, class_="legend", aria_label="Colours of the steps, error in percent")
