"""sentence-transformers' cross-encoders: the function that their `predict` puts behind a classifier's scores.

The rule is the library's (6.2, cross_encoder/model.py, `get_default_activation_fn`): config_sentence_transformers.json
names it, or `sentence_transformers.activation_fn` in config.json, or `sbert_ce_default_activation_function`; a
cross-encoder that names none has the sigmoid for one score, and nothing for several. Other classifiers have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertc.checkpoint.files import read_object_if_there
from bertc.core.head import Head, Problem, Squash
from bertc.errors import InputError

FILE = "config_sentence_transformers.json"
OLDER = "sbert_ce_default_activation_function"
PLAIN, SIGMOID = "Identity", "Sigmoid"


def is_cross_encoder(root: Path) -> bool:
    """Say whether sentence-transformers (from 6 on) saved a cross-encoder in a folder."""
    return read_object_if_there(root / FILE).get("model_type") == "CrossEncoder"


def with_squash(root: Path, config: Mapping[str, Any], head: Head) -> Head:
    """Return a classifier's head with what stands behind its scores; another head as it is."""
    if head.problem is None:
        return head
    return replace(head, squash=_squash(root, config, head.problem, len(head.labels)))


def _squash(root: Path, config: Mapping[str, Any], problem: Problem, scores: int) -> Squash | None:
    """Return what stands behind the scores, None for nothing. Raises `InputError` for what bertc does not compute."""
    name = _named(root, config, scores)
    if name is None:
        return None
    kind = name.rpartition(".")[2]
    torch = "." not in name or name.startswith("torch.")
    if torch and kind == PLAIN:
        return None
    if torch and kind == SIGMOID and problem == Problem.REGRESSION:
        return Squash.SIGMOID
    if torch and kind == SIGMOID and problem == Problem.MULTI_LABEL:
        return None  # whose scores are sigmoids already
    raise InputError(
        f"{root}: the cross-encoder puts {name} behind {scores} scores, which bertc does not compute; save it with "
        "torch.nn.Identity, or with torch.nn.Sigmoid for one score"
    )


def notes_on_score(root: Path, config: Mapping[str, Any], problem: Problem | None) -> tuple[str, ...]:
    """Tell of a single score that is given as it is, where other libraries take it for that of a cross-encoder.

    transformers' pipeline (5.24, text_classification.py) has the sigmoid for one score whose problem_type is not
    "regression", sentence-transformers' CrossEncoder for one that names nothing else.
    """
    if problem != Problem.REGRESSION or config.get("problem_type") is not None or _named(root, config, 1) is not None:
        return ()
    note = (
        f"{root}: its score is given as it is, and by transformers' pipeline and sentence-transformers as a sigmoid; "
        f'for that write "{OLDER}": "torch.nn.modules.activation.Sigmoid" into config.json, or else '
        '"problem_type": "regression"'
    )
    return (note,)


def _named(root: Path, config: Mapping[str, Any], scores: int) -> str | None:
    """Return the activation by its name; None where the model is no cross-encoder."""
    of_library = read_object_if_there(root / FILE)
    of_model = config.get("sentence_transformers")
    older = config.get(OLDER)
    named = of_library.get("activation_fn") if of_library.get("model_type") == "CrossEncoder" else None
    if named is None:
        named = of_model.get("activation_fn") if isinstance(of_model, Mapping) else None
    if named is None:
        named = older
    if named is not None:
        return str(named)
    if is_cross_encoder(root) or isinstance(of_model, Mapping):
        return SIGMOID if scores == 1 else PLAIN
    return None
