"""What a process does with memory that was freed."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 256 << 20
MAPPED_BYTES = 32 << 20
"""The most that glibc takes. Larger blocks are mapped alone, and given back when they are freed."""


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB that were freed, for a process that is soon given as much again; else nothing.

    By default it gives back what is free at the heap's end, and every batch has the pages of its arrays made anew: a
    sixth of a worker's calibration of MiniLM on short texts. See mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
