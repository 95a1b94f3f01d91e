"""The LSTM of a checkpoint between encoder and tags: found by torch.nn.LSTM's names, in a module of any name.

Behind it is the linear layer that gives the tags' scores, which repositories call as they like: `classifier`,
`hidden2tag`, `fc`. config.json may have `lstm_over` ("tokens" or "words").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.exit_classifiers import AliasedWeights
from bertc.checkpoint.inventory import UNREAD_HEADS, encoder_names
from bertc.core.array_value import packed_from_array
from bertc.core.crf import Crf, Over
from bertc.core.lstm import Direction, Lstm
from bertc.errors import InputError
from bertc.ir.architecture import Architecture

OVER = "lstm_over"
TENSOR = re.compile(r"(?:(.*)\.)?(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d+)(_reverse)?")
CLASSIFIER = "classifier"
REMEDY = "save the LSTM as torch.nn.LSTM does"


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmNames:
    """The tensors of an LSTM: `module` is what stands before their names, `layers` its layers' directions by suffix
    (`l0`, `l0_reverse`), `emission` the linear layer behind it, "" where the classifier is called so.
    """

    module: str
    layers: tuple[tuple[str, ...], ...]
    biased: bool
    emission: str

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of all tensors of the LSTM."""
        kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.biased else ()))
        return tuple(self.tensor(kind, suffix) for layer in self.layers for suffix in layer for kind in kinds)

    def tensor(self, kind: str, suffix: str) -> str:
        """Return the name of one tensor: `lstm.weight_ih_l0_reverse`."""
        return f"{self.module}.{kind}_{suffix}" if self.module else f"{kind}_{suffix}"


def lstm_names(folder: Path, weights: Weights, architecture: Architecture) -> LstmNames | None:
    """Return where a checkpoint's LSTM and the linear layer behind it are, None where there is none.

    Raises `InputError` for several, for parts of one, for a GRU or another recurrent layer, and for sizes that
    contradict each other, naming the tensors.
    """
    stored = [(name, match) for name in weights if (match := TENSOR.fullmatch(name))]
    if not stored:
        return None
    modules = sorted({match[1] or "" for _, match in stored})
    if len(modules) > 1:
        named = [next(name for name, match in stored if (match[1] or "") == module) for module in modules[:2]]
        raise InputError(f"{folder} holds {named[0]} and {named[1]}, two recurrent layers; bertc computes one")
    projected = next((name for name, match in stored if match[2] == "weight_hr"), None)
    if projected is not None:
        raise InputError(
            f"{folder} holds {projected}: an LSTM with a projection (proj_size), which bertc does not compute"
        )
    count = 1 + max(int(match[3]) for _, match in stored)
    back = ("", "_reverse") if any(match[4] for _, match in stored) else ("",)
    layers = tuple(tuple(f"l{layer}{end}" for end in back) for layer in range(count))
    biased = any(match[2].startswith("bias") for _, match in stored)
    names = LstmNames(module=modules[0], layers=layers, biased=biased, emission="")
    missing = [name for name in names.tensors if name not in weights]
    if missing:
        raise InputError(f"{folder} holds {stored[0][0]} without {' and '.join(missing[:3])}; {REMEDY}")
    outputs = _checked_sizes(folder, weights, names, architecture.hidden)
    return LstmNames(
        module=names.module,
        layers=layers,
        biased=biased,
        emission=_emission(folder, weights, names, architecture, outputs),
    )


def _checked_sizes(folder: Path, weights: Weights, names: LstmNames, inputs: int) -> int:
    """Refuse sizes that contradict each other or the encoder's; return the width of the last layer's output."""
    for layer in names.layers:
        outputs = 0
        for suffix in layer:
            of_states, of_inputs = names.tensor("weight_hh", suffix), names.tensor("weight_ih", suffix)
            shape = weights.shape(of_states)
            if len(shape) == 2 and shape[0] in (shape[1], 3 * shape[1]):
                kind = "a GRU's" if shape[0] == 3 * shape[1] else "a plain recurrent layer's"
                raise InputError(
                    f"{folder}: {of_states} has the shape {list(shape)} and is {kind}, and bertc computes LSTMs alone; "
                    "train the tagger without it, or with an LSTM"
                )
            width = shape[-1] if shape else 0
            expected: dict[str, tuple[int, ...]] = {of_states: (4 * width, width), of_inputs: (4 * width, inputs)}
            if names.biased:
                expected |= {names.tensor(kind, suffix): (4 * width,) for kind in ("bias_ih", "bias_hh")}
            for name, wanted in expected.items():
                if weights.shape(name) != wanted or not width:
                    raise InputError(
                        f"{folder}: {name} has the shape {list(weights.shape(name))}, and an LSTM with {of_states} "
                        f"{list(shape)} that reads {inputs} channels has {list(wanted)}; {REMEDY}"
                    )
            outputs += width
        inputs = outputs
    return inputs


def _emission(folder: Path, weights: Weights, names: LstmNames, architecture: Architecture, outputs: int) -> str:
    """Return the module of the linear layer that reads the LSTM, "" for the classifier."""
    known = {*encoder_names(architecture), *names.tensors}
    fitting = [
        name.removesuffix(".weight")
        for name in weights
        if name.endswith(".weight") and name not in known and weights.shape(name)[1:] == (outputs,)
    ]
    if CLASSIFIER in fitting:
        return ""
    found = [module for module in fitting if module.partition(".")[0] not in UNREAD_HEADS]
    if len(found) != 1:
        held = f"holds {found[0]}.weight and {found[1]}.weight" if found else "holds no linear layer"
        raise InputError(
            f"{folder} {held} behind the LSTM, whose output is {outputs} wide, and one gives the tags' scores; call it "
            "classifier.weight, [tags, width], and leave others out"
        )
    return found[0]


def with_emissions(weights: Weights, names: LstmNames | None) -> Weights:
    """Return the weights with the linear layer behind the LSTM as the classifier."""
    if names is None or not names.emission:
        return weights
    leaves = [leaf for leaf in ("weight", "bias") if f"{names.emission}.{leaf}" in weights]
    return AliasedWeights(weights, {f"{CLASSIFIER}.{leaf}": f"{names.emission}.{leaf}" for leaf in leaves})


def lstm_from_weights(
    folder: Path, config: Mapping[str, Any], weights: Weights, names: LstmNames, crf: Crf | None
) -> Lstm:
    """Read the LSTM of those names, and the classifier behind it.

    Raises `InputError` for an entry of config.json that means nothing, or one that the CRF's contradicts.
    """
    over = config.get(OVER, Over.TOKENS)
    if over not in list(Over):
        raise InputError(f"{folder}/config.json: {OVER} is {over!r}; write {' or '.join(map(repr, map(str, Over)))}")
    if crf is not None and over == Over.WORDS and crf.over is Over.TOKENS:
        raise InputError(
            f"{folder}/config.json: the CRF goes over all tokens, and the LSTM scores the first pieces of words "
            f"alone; correct crf_over or {OVER}"
        )
    matrix, bias = weights.array(f"{CLASSIFIER}.weight"), f"{CLASSIFIER}.bias"
    return Lstm(
        layers=tuple(tuple(_direction(weights, names, suffix) for suffix in layer) for layer in names.layers),
        weight=packed_from_array(matrix),
        bias=packed_from_array(weights.array(bias) if bias in weights else np.zeros(len(matrix), np.float32)),
        over=Over(over),
    )


def _direction(weights: Weights, names: LstmNames, suffix: str) -> Direction:
    inputs, states = (weights.array(names.tensor(kind, suffix)) for kind in ("weight_ih", "weight_hh"))
    biases = [weights.array(names.tensor(kind, suffix)) for kind in ("bias_ih", "bias_hh") if names.biased]
    return Direction(
        inputs=packed_from_array(inputs),
        states=packed_from_array(states),
        bias=packed_from_array(np.sum(biases, 0, dtype=np.float32) if biases else np.zeros(len(states), np.float32)),
    )


def notes_on_lstm(config: Mapping[str, Any], lstm: Lstm | None) -> tuple[str, ...]:
    """Say what an LSTM was taken to go over where no file tells it."""
    if lstm is None or OVER in config:
        return ()
    return (
        (
            f"the LSTM goes over all tokens of a text, special ones too; if it was trained over the first piece of "
            f'every word alone, write "{OVER}": "{Over.WORDS}" into config.json'
        ),
    )
