"""Damage a calibration table on purpose: fix the range of one site at a tenth of what was observed there.

    python demo/damage.py out/demo/calibration.json out/damaged-calibration.json [SITE]

Values beyond the range are clipped by INT8, so a site whose range is far too small breaks the model without any error
message. Only an accuracy that is measured on the engine shows it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SITE = "layer.0.hidden"
FACTOR = 10


def damaged_table(text: str, site: str) -> tuple[str, float, float]:
    """Return the table with the site's range overridden, the range observed, and the new one."""
    table = json.loads(text)
    observed = table["smoothed"].get(site) or table["sites"].get(site)
    if observed is None:
        raise SystemExit(f"the table has no site {site}; it has {', '.join(sorted(table['sites']))}")
    table["overrides"][site] = observed["amax"] / FACTOR
    return json.dumps(table, indent=1) + "\n", observed["amax"], table["overrides"][site]


def main() -> None:
    """Read the table, write the damaged one, say what was done."""
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    source, target, *rest = sys.argv[1:]
    site = rest[0] if rest else SITE
    text, before, after = damaged_table(Path(source).read_text(encoding="utf-8"), site)
    Path(target).write_text(text, encoding="utf-8")
    print(f"{site}: values reach {before:.3g}, the range is now {after:.3g} ({target})")


if __name__ == "__main__":
    main()
