"""What is said of a part of a model that a target does not run: one sentence, with the targets that run all of them."""

from __future__ import annotations

from bertc.errors import InputError

ELSEWHERE = "build it with --target native, --target ort-cpu or --target openvino"
"""The remedy: these targets run every part of a model."""


def not_written(where: str, feature: str, runtime: str) -> InputError:
    """Return the error about a feature that a runtime is not written for; `where` names a value that has it."""
    return InputError(f"{where}: this model has {feature}, which bertc does not write for {runtime}; {ELSEWHERE}")
