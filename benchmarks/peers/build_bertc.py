"""bertc's own artefacts, as `bertc build` makes them, without its cache."""

from __future__ import annotations

import json
from pathlib import Path

from inputs import Inputs


def built(
    checkpoint: Path, folder: Path, inputs: Inputs, target: str, mode: str | None = None, granularity: str | None = None
) -> None:
    """Build with the defaults; not validated, as the peers are not: the benchmark compares the outputs itself."""
    from bertc.cache.stages import Work
    from bertc.cache.store import StageCache
    from bertc.core.progress import Silent
    from bertc.jobs.build import build
    from bertc.recipe import recipe_from_document

    calibration = json.loads((folder.parent / "calibration.json").read_text(encoding="utf-8"))
    recipe = recipe_from_document(
        {
            "checkpoint": str(checkpoint),
            "calibration": calibration,
            "quantization": {name: value for name, value in (("mode", mode), ("granularity", granularity)) if value},
            "validation": {"unvalidated": True},
            "engine": {"target": target},
        },
        "benchmark",
    )
    with StageCache(None) as cache:
        build(recipe, folder / "out", work=Work(cache, Silent()), command="benchmarks/peers")
