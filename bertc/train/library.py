"""torch itself: asked for before anything of this room is imported."""

from __future__ import annotations

import os

from bertc.errors import EnvironmentLackError


def check_torch() -> None:
    """Import torch, as it trains fastest. Raises `EnvironmentLackError` without it."""
    # OpenMP's threads wait by spinning. With another program on the machine each of a step's thousand parallel regions
    # then costs a time slice: 3.7 s instead of 0.46 s a step of a MiniLM on 2 busy cores (EPYC, torch 2.13).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentLackError('training needs torch; install it with pip install "bertc[train]"') from None
