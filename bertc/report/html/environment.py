"""Templates that cannot be injected into: whatever a report says becomes text of the page, never markup.

Labels, paths and messages in a report come from checkpoints and data sets, which may be hostile. Every value that a
template shows is escaped; markup stands in templates alone. A value that a template names and nobody gave is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bertc.report.html import figures

_FILTERS = (
    figures.capital,
    figures.duration,
    figures.fraction,
    figures.interval,
    figures.moment,
    figures.percent,
    figures.plain_name,
    figures.significant,
    figures.size,
    figures.thousands,
    figures.times,
)


def page_from_template(name: str, /, **values: object) -> str:
    """Fill a template in; raises `jinja2.TemplateError` for a name or attribute that does not exist."""
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({function.__name__: function for function in _FILTERS})
    return environment
