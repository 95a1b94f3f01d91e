"""bertc compiles a trained BERT checkpoint to an INT8 engine whose accuracy is proven."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bertc.core.versions import __version__

if TYPE_CHECKING:
    from bertc.jobs.predict import Predictor

__all__ = ["__version__", "load"]

# ONNX Runtime (1.29 and later, not on Windows) reports sessions and models to its makers, and keeps a device's id,
# unless this is set before it is imported. Who wants it sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(
    path: str | Path,
    threads: int = 0,
    *,
    packing: bool = True,
    cache: str | Path | None = None,
    engine: str | None = None,
    allow_failed: bool = False,
) -> Predictor:
    """Open the artefact in a folder; `threads` 0 means all cores.

    Short texts of a call share rows where that is faster; `packing` False gives every text a row of its own.
    `cache` is a folder in which OpenVINO's engines keep what they compiled, so that the next opening is faster.

    Of several engines in the folder it is the one of the target `engine`, or the first in their order that runs here
    and whose verdict is no fail; `allow_failed` takes one that failed, too. `Predictor.choice` says which it is.

    Load after a fork, not before: an engine's threads stay with the parent, and a child that asks it is refused.

    with bertc.load("OUT") as model:
        model.predict(["a gripping film"])

    Gives a Python warning (`UserWarning`) where the verdict of the build was not a pass, or there was none;
    `Predictor.passed` says so as well.

    Raises `bertc.errors.InputError` if it is no artefact or a file was changed, and
    `bertc.errors.EnvironmentLackError` if this machine cannot run it.
    """
    from bertc.jobs.engine_choice import EngineWish
    from bertc.jobs.predict import predictor_from_path  # the runtime: not for who only wants the version or the help

    wish = EngineWish(target=engine, allow_failed=allow_failed)
    predictor = predictor_from_path(path, threads=threads, packing=packing, cache=cache, wish=wish)
    if predictor.caution:
        warnings.warn(predictor.caution, UserWarning, stacklevel=2)
    return predictor
