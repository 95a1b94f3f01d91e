"""Fields of config.json that several families read, with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertc.errors import InputError
from bertc.graph.architecture import Activation

ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}


def positive(config: Mapping[str, Any], name: str) -> int:
    """Return a size. Raises `InputError` where it is missing or none."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise InputError(f"config.json: {name} must be a positive integer, not {value!r}")
    return value


def widths(config: Mapping[str, Any], hidden: str, heads: str) -> tuple[int, int]:
    """Return hidden size and number of heads by their fields' names. Raises `InputError` where one does not divide."""
    size, count = positive(config, hidden), positive(config, heads)
    if size % count:
        raise InputError(f"config.json: {hidden} {size} is not a multiple of {heads} {count}")
    return size, count


def activation(config: Mapping[str, Any], name: str) -> Activation:
    """Return the activation between the feed-forward GEMMs. Raises `InputError` for one that no graph has."""
    found = str(config.get(name, "gelu"))
    if found not in ACTIVATIONS:
        raise InputError(f"config.json: {name} '{found}' is not supported; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[found]


def refuse_variants(config: Mapping[str, Any]) -> None:
    """Refuse what shares a family's model type but computes something else."""
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"config.json: position_embedding_type '{config['position_embedding_type']}' is not supported; "
            "bertc reads models with absolute positions"
        )
    for flag in ("is_decoder", "add_cross_attention"):
        if config.get(flag):
            raise InputError(f"config.json: {flag} is set, but bertc compiles encoders only")
