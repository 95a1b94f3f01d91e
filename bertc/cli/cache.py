"""The cache of finished stages as the options ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertc.artefact.cache import StageCache
    from bertc.features import Progress


def cache_from_options(cache_dir: Path | None, *, no_cache: bool, progress: Progress) -> StageCache:
    """Open the cache; close it, or use it as a context."""
    from bertc.artefact.cache import StageCache, default_cache_directory  # numpy: not for --help

    directory = None if no_cache else cache_dir or default_cache_directory()
    return StageCache(directory, progress=progress)
