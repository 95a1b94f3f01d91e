"""What the families share: BERT's encoder, whose fields in config.json and weights they name as they like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames, Rotary, TokenScores

ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_python": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_accurate": Activation.GELU_TANH,
    "gelu_python_tanh": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
}
LINEAR = "linear"
HIGHEST_BASE = 1e30
"""Of rotary positions: what is beyond is no number that anybody trained with, and has no float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """How a family's config.json calls the dimensions that not all call alike."""

    hidden: str
    heads: str
    layers: str
    intermediate: str
    activation: str


def encoder_from_config(
    config: Mapping[str, Any], fields: Fields, layer_names: Callable[[int], LayerNames]
) -> Architecture:
    """Read an encoder without token types and without a dense layer before its classifier.

    Raises `InputError` naming the field that is missing, absurd or not supported.
    """
    hidden, heads = widths(config, fields.hidden, fields.heads)
    refuse_variants(config)
    layers = positive(config, fields.layers)
    return Architecture(
        hidden=hidden,
        layers=layers,
        layers_field=fields.layers,
        width_fields=(fields.hidden, fields.heads, fields.intermediate),
        heads=heads,
        intermediate=positive(config, fields.intermediate),
        vocabulary=positive(config, "vocab_size"),
        positions=positive(config, "max_position_embeddings"),
        token_types=0,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation(config, fields.activation),
        word_embeddings="embeddings.word_embeddings.weight",
        position_embeddings="embeddings.position_embeddings.weight",
        token_type_embeddings=None,
        embeddings_norm="embeddings.LayerNorm",
        layer_names=tuple(layer_names(layer) for layer in range(layers)),
        dense=(),
        classifier="classifier",
    )


def predictions(activation: Activation, prefix: str, transform: str, norm: str) -> TokenScores:
    """Return the names of a masked language model's head whose decoder and bias stand under a prefix.

    `transform` is what its dense layer and its norm, called `norm`, have before their names.
    """
    return TokenScores(
        dense=f"{transform}dense",
        activation=activation,
        norm=f"{transform}{norm}",
        decoder=f"{prefix}decoder.weight",
        biases=(f"{prefix}decoder.bias", f"{prefix}bias"),
    )


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
    return ACTIVATIONS[chosen(config, name, ACTIVATIONS, "gelu")]


def chosen(config: Mapping[str, Any], name: str, supported: Collection[str], usual: str) -> str:
    """Return which of some names an entry has. Raises `InputError` for another, and for what is no text at all."""
    found = config.get(name, usual)
    if not isinstance(found, str) or found not in supported:
        raise InputError(f"config.json: {name} {found!r} is not supported; supported are {', '.join(supported)}")
    return found


def epsilon(config: Mapping[str, Any], name: str, usual: float) -> float:
    """Return what a norm adds below its root. Raises `InputError` for what is no small number."""
    found = config.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1:
        raise InputError(f"config.json: {name} is {found!r}, not a number between 0 and 1; correct the file")
    return float(found)


def rotary(config: Mapping[str, Any], parameters: Any, field: str, usual: float, of: str = "") -> Rotary:
    """Return rotary positions: transformers 5's `parameters`, or else with the base of the hub's entry `field`.

    `of` says of which layers, for messages. Raises `InputError` for positions that are scaled by anything but a factor
    for all pairs of channels ("linear"), or not of whole heads.
    """
    if not isinstance(parameters, Mapping | None):
        raise InputError(f"config.json: rope_parameters{of} must be an object, not {parameters!r}; correct the file")
    parameters = parameters or {}
    kind = parameters.get("rope_type", "default")
    known = kind in ("default", LINEAR)
    scaled = f"rope_scaling {config.get('rope_scaling')}" if known else f"rope_parameters {parameters}"
    if not known or config.get("rope_scaling"):
        raise InputError(
            f"config.json: the rotary positions{of} are scaled ({scaled}), which bertc does not compute; take a model "
            "with plain ones"
        )
    stretch = at_least_one(parameters.get("factor") if kind == LINEAR else 1, f"factor of rope_parameters{of}")
    part = parameters.get("partial_rotary_factor", 1.0)
    if part != 1:
        raise InputError(
            f"config.json: the rotary positions{of} turn a part of each head ({part!r}), and bertc turns whole ones; "
            "take a model with those"
        )
    base = parameters.get("rope_theta", config.get(field, usual))
    base = base if base is not None else usual
    if isinstance(base, bool) or not isinstance(base, int | float) or not 1 < base < HIGHEST_BASE:
        raise InputError(f"config.json: the rotary base{of} must be a number above 1, not {base!r:.60}")
    return Rotary(float(base), stretch)


def at_least_one(value: Any, what: str) -> float:
    """Return a base or a factor of rotary positions. Raises `InputError` for what is no number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < HIGHEST_BASE:
        raise InputError(f"config.json: the {what} must be a number from 1 on, not {value!r:.60}")
    return float(value)


def refuse_variants(config: Mapping[str, Any]) -> None:
    """Refuse what shares a family's model type but computes something else."""
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"config.json: position_embedding_type '{config['position_embedding_type']}' is not supported; "
            "bertc reads models with absolute positions"
        )
    for flag in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if config.get(flag):
            raise InputError(f"config.json: {flag} is set, but bertc compiles encoders only")
