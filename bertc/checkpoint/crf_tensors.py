"""The CRF of a checkpoint whose tags are decided together: found by the names that libraries give its weights.

pytorch-crf 0.7.2 and TorchCRF 1.1.0 hold transitions [from, to] and the scores of the first and last tag, as Keras' CRF
layers do; in what module does not matter. config.json may have `crf_over` ("words" or "tokens") and `crf_constrained`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertc.checkpoint.checkpoint import Weights
from bertc.core.crf import Crf, Over
from bertc.errors import InputError
from bertc.evaluate.metrics.entities import Scheme, scheme_from_labels

OVER, CONSTRAINED = "crf_over", "crf_constrained"
LIBRARIES = (
    ("transitions", "start_transitions", "end_transitions"),  # pytorch-crf
    ("trans_matrix", "start_trans", "end_trans"),  # TorchCRF
    ("chain_kernel", "left_boundary", "right_boundary"),  # Keras
)


def crf_names(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a CRF's transitions, start and end among the weights', () where there is none.

    Raises `InputError` for several CRFs, or half of one.
    """
    stored = set(names)
    found = [(name, leaves) for name in sorted(stored) for leaves in LIBRARIES if _leaf(name) == leaves[0]]
    if not found:
        return ()
    if len(found) > 1:
        raise InputError(
            f"{folder} holds {found[0][0]} and {found[1][0]}, two CRFs; keep the one that decides on the tags"
        )
    name, leaves = found[0]
    of_crf = tuple(name.removesuffix(leaves[0]) + leaf for leaf in leaves)
    missing = [each for each in of_crf if each not in stored]
    if missing:
        raise InputError(
            f"{folder} holds {name} without {' and '.join(missing)}: a CRF of another library, whose matrix may be "
            "turned around and have tags for begin and end; save it as pytorch-crf does"
        )
    return of_crf


def crf_from_weights(
    folder: Path, config: Mapping[str, Any], weights: Weights, names: Sequence[str], labels: Sequence[str]
) -> Crf:
    """Read the CRF of those `names` behind a head's labels.

    Raises `InputError` for sizes, or entries of config.json, that do not fit.
    """
    count = len(labels)
    for name, shape in zip(names, ((count, count), (count,), (count,)), strict=True):
        if weights.shape(name) != shape:
            raise InputError(
                f"{folder}: {name} has the shape {list(weights.shape(name))}, and {count} labels need {list(shape)}; "
                "save the CRF as pytorch-crf does, without tags for begin and end"
            )
    transitions, start, end = (weights.array(name).tolist() for name in names)
    return Crf(
        transitions=tuple(map(tuple, transitions)),
        start=tuple(start),
        end=tuple(end),
        over=_over(folder, config),
        constrained=_constrained(folder, config, labels),
    )


def notes_on_crf(config: Mapping[str, Any], crf: Crf | None) -> tuple[str, ...]:
    """Say what a CRF was taken to go over where no file tells it."""
    if crf is None or OVER in config:
        return ()
    return (
        (
            f"the CRF goes over the first piece of every word; if it was trained over all tokens "
            f'(mask=attention_mask), write "{OVER}": "{Over.TOKENS}" into config.json'
        ),
    )


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _over(folder: Path, config: Mapping[str, Any]) -> Over:
    named = config.get(OVER, Over.WORDS)
    if named not in list(Over):
        raise InputError(f"{folder}/config.json: {OVER} is {named!r}; write {' or '.join(map(repr, map(str, Over)))}")
    return Over(named)


def _constrained(folder: Path, config: Mapping[str, Any], labels: Sequence[str]) -> bool:
    wanted = config.get(CONSTRAINED, False)
    if not isinstance(wanted, bool):
        raise InputError(f"{folder}/config.json: {CONSTRAINED} is {wanted!r}; write true or false")
    if wanted and scheme_from_labels(labels) is Scheme.PLAIN:
        raise InputError(
            f"{folder}/config.json: {CONSTRAINED} is set, but the tags {', '.join(labels[:10])} have no scheme "
            "such as BIO that forbids anything; correct id2label, or leave it away"
        )
    return wanted
