"""The kernels' timings of earlier builds, which TensorRT takes up and adds to: a file that a build can do without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bertc.core.progress import Progress

if TYPE_CHECKING:
    import tensorrt as trt


def give_timings(config: trt.IBuilderConfig, path: Path | None, progress: Progress) -> None:
    """Give a build the timings in a file (None: none), or an empty cache; says so where TensorRT refuses them."""
    known = path.read_bytes() if path is not None and path.is_file() else b""
    if not _is_taken(config, known):
        empty = bool(known) and _is_taken(config, b"")
        progress.note(
            f"TensorRT does not take the timings of earlier builds in {path}; it measures again"
            if empty
            else "TensorRT takes no cache of timings; it measures without one"
        )


def _is_taken(config: trt.IBuilderConfig, content: bytes) -> bool:
    cache = config.create_timing_cache(content)
    return cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)


def keep_timings(config: trt.IBuilderConfig, path: Path, progress: Progress) -> None:
    """Write the timings after a build, whole or not at all; says so where TensorRT gives none."""
    cache = config.get_timing_cache()
    content = None if cache is None else cache.serialize()
    if content is None:
        progress.note("TensorRT gives no timings to keep; the next build measures again")
        return
    work = path.with_suffix(".new")
    work.write_bytes(bytes(content))
    work.replace(path)
