"""The classifiers behind earlier layers that early-exit checkpoints hold, in the layouts of DeeBERT and PABEE.

DeeBERT (Xin et al. 2020, arXiv:2004.12993) has `encoder.highway.{i}.pooler.dense` and `.classifier` for every layer and
a last classifier of its own; PABEE (Zhou et al. 2020, arXiv:2006.04152) one pooler and `classifiers.{i}`, of which the
last layer's is the model's. What bertc trains is in DeeBERT's layout, without the last layer's, and config.json says
`"exit_pooling": "mean"`: its classifiers read the mean over a text's tokens, theirs the first token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertc.checkpoint.checkpoint import Checkpoint, Weights
from bertc.checkpoint.config_json import CONFIG_FILE
from bertc.checkpoint.weights_view import WeightsView
from bertc.core.head import Exit, Pooling, Problem
from bertc.errors import InputError
from bertc.ir.architecture import Architecture

HIGHWAY = re.compile(r"encoder\.highway\.(\d+)\.(pooler\.dense|classifier)\.(weight|bias)")
PABEE = re.compile(r"classifiers\.(\d+)\.(weight|bias)")
FASTBERT = re.compile(r"(^|\.)kernel\.encoder\.transformer\.\d+\.|(^|\.)classifiers\.\d+\.(output_layer|self_atten)")
POOLER, CLASSIFIER = "pooler.dense", "classifier"
LEAVES = ("weight", "bias")
EXIT_POOLING = "exit_pooling"
POOLINGS = (Pooling.CLS, Pooling.MEAN)


class AliasedWeights(WeightsView):
    """Weights of which some are read under another name, or under several; see `Weights` for the interface."""

    def __init__(self, weights: Weights, aliases: Mapping[str, str], stored: Mapping[str, str] | None = None) -> None:
        """Take the weights, and what each new name reads. `stored` are the names under which copies are to be stored;
        None for tensors that have the new name in the place of their own.
        """
        self._aliases = dict(aliases)
        self._stored = dict(stored or {})
        hidden = frozenset(aliases.values()) if stored is None else frozenset()
        super().__init__(weights, [*(name for name in weights if name not in hidden), *aliases])

    def source(self, name: str) -> tuple[Weights, str]:
        """Return what a new name reads."""
        return self._whole, self._aliases.get(name, name)

    def stored_name(self, name: str) -> str:
        """Return the name under which a copy is to be stored, or that of the tensor in its file."""
        return self._stored.get(name) or super().stored_name(name)


def refuse_fastbert(folder: Path, names: Iterable[str]) -> None:
    """Raise `InputError` for a checkpoint of the package fastbert, whose classifiers have an attention of their own."""
    found = next((name for name in names if FASTBERT.search(name)), None)
    if found is not None:
        raise InputError(
            f"{folder} holds {found}: FastBERT's classifiers with their own attention are not supported; train exits "
            "on the encoder with `bertc finetune --early-exit`, which learns from the last layer as FastBERT does"
        )


def exits_from_weights(
    folder: Path, config: Mapping[str, Any], weights: Weights, architecture: Architecture
) -> tuple[Exit, ...]:
    """Return the exits before the last layer, in order; none for a checkpoint without.

    Raises `InputError` where a part of one is missing, and for an entry of config.json that is no pooling of theirs.
    """
    pooling = _pooling(folder, config)
    names = list(weights)
    found = {int(match[1]) for match in map(HIGHWAY.fullmatch, names) if match}
    if found:
        exits = [_highway(i, pooling) for i in found]
    else:
        found = {int(match[1]) for match in map(PABEE.fullmatch, names) if match}
        exits = [Exit(layer=i, dense=POOLER, classifier=f"classifiers.{i}", pooling=pooling) for i in found]
    for each in exits:
        for name in (f"{module}.{leaf}" for module in (each.dense, each.classifier) for leaf in LEAVES):
            weights.shape(name)  # which says what is missing
    before_last = (each for each in exits if each.layer < architecture.layers - 1)
    return tuple(sorted(before_last, key=lambda each: each.layer))


def with_last_classifier(weights: Weights, layers: int) -> Weights:
    """Return PABEE's weights with the last layer's classifier as the model's; others as they are."""
    last = f"classifiers.{layers - 1}"
    if f"{CLASSIFIER}.weight" in weights or f"{last}.weight" not in weights:
        return weights
    return AliasedWeights(weights, {f"{CLASSIFIER}.{leaf}": f"{last}.{leaf}" for leaf in LEAVES})


def is_exit(name: str) -> bool:
    """Say whether a tensor is an exit's."""
    return HIGHWAY.fullmatch(name) is not None or PABEE.fullmatch(name) is not None


def checkpoint_with_exits(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose head has all its exits.

    Where it has none, those are copies of the last pooler and classifier behind each layer but the last, on the mean
    over a text's tokens: the first token of early layers has seen too little of the others.

    Raises `InputError` for a model whose layers' states such a classifier cannot read.
    """
    architecture, head = checkpoint.architecture, checkpoint.head
    single = head.problem is Problem.SINGLE_LABEL and len(head.labels) > 1
    plain = architecture.pooling is Pooling.CLS and not architecture.norm_first
    if not single or not plain or architecture.dense != ((POOLER, "Tanh"),) or architecture.layers < 2:
        raise InputError(
            f"{checkpoint.path}: early exit needs a text classifier with one label of several and BERT's pooler, on "
            "two layers or more; compile this checkpoint without"
        )
    if checkpoint.exits:
        return replace(checkpoint, head=replace(head, exits=checkpoint.exits))
    exits = tuple(_highway(i, Pooling.MEAN) for i in range(architecture.layers - 1))
    aliases = {
        f"{module}.{leaf}": f"{source}.{leaf}"
        for each in exits
        for module, source in ((each.dense, POOLER), (each.classifier, CLASSIFIER))
        for leaf in LEAVES
    }
    prefix = checkpoint.weights.stored_name(f"{POOLER}.weight").removesuffix(f"{POOLER}.weight")
    stored = {name: f"{prefix}{name}" for name in aliases}
    weights = AliasedWeights(checkpoint.weights, aliases, stored)
    return replace(
        checkpoint,
        config={**checkpoint.config, EXIT_POOLING: str(Pooling.MEAN)},
        files=tuple(file for file in checkpoint.files if file != weights.files[0].parent / CONFIG_FILE),
        weights=weights,
        exits=exits,
        head=replace(head, exits=exits),
    )


def checkpoint_with_own_exits(checkpoint: Checkpoint) -> Checkpoint:
    """Return `checkpoint_with_exits` to train. Raises `InputError` where exits share the pooler, as PABEE's do."""
    found = checkpoint_with_exits(checkpoint)
    if any(each.dense == POOLER for each in found.head.exits):
        raise InputError(
            f"{checkpoint.path}: the exits of this checkpoint (PABEE) share one pooler, and bertc trains only exits "
            "that have their own; build it as it is"
        )
    return found


def _highway(layer: int, pooling: Pooling) -> Exit:
    name = f"encoder.highway.{layer}"
    return Exit(layer=layer, dense=f"{name}.{POOLER}", classifier=f"{name}.{CLASSIFIER}", pooling=pooling)


def _pooling(folder: Path, config: Mapping[str, Any]) -> Pooling:
    """Read what the exits pool: the first token where nothing says it, as their authors' do."""
    named = config.get(EXIT_POOLING, Pooling.CLS)
    if named not in POOLINGS:
        known = " or ".join(repr(str(each)) for each in POOLINGS)
        raise InputError(f"{folder}/config.json: {EXIT_POOLING} is {named!r}; write {known}")
    return Pooling(named)
