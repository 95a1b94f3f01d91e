"""What every view of a checkpoint's weights obeys: names, shapes and values agree, and what is missing is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.dense_modules import WithModules
from bertc.checkpoint.exit_classifiers import AliasedWeights, checkpoint_with_exits
from bertc.checkpoint.heads_apart import JoinedHeads
from bertc.checkpoint.parted_weights import PartedWeights
from bertc.checkpoint.shared_heads import RepeatedHeads
from bertc.checkpoint.weights_view import WeightsView
from bertc.errors import InputError
from tests.fixtures import write_tiny_bert, write_tiny_sentences
from tests.tiny_families import write_tiny_family


def of_family(family: str, **changes: Any) -> Callable[[Path], Weights]:
    return lambda folder: checkpoint_from_path(write_tiny_family(folder, family, **changes)).weights


VIEWS: Mapping[type[WeightsView], Callable[[Path], Weights]] = {
    PartedWeights: of_family("modernbert"),
    JoinedHeads: of_family("xlnet"),
    RepeatedHeads: of_family("eurobert", num_key_value_heads=1),
    WithModules: lambda folder: (
        checkpoint_from_path(write_tiny_sentences(folder, modules=("Transformer", "Pooling", "Dense"))).weights
    ),
    AliasedWeights: lambda folder: checkpoint_with_exits(checkpoint_from_path(write_tiny_bert(folder))).weights,
}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_a_view_agrees_with_itself_and_says_what_is_missing(view: type[WeightsView], tmp_path: Path) -> None:
    weights = VIEWS[view](tmp_path / "checkpoint")
    assert type(weights) is view
    names = list(weights)
    assert len(set(names)) == len(names) and all(path.is_file() for path in weights.files)
    for name in names:
        assert name in weights and weights.stored_name(name)
        assert weights.array(name).shape == weights.shape(name)
    assert "no.such.weight" not in weights
    for ask in (weights.shape, weights.stored_name, weights.array):
        with pytest.raises(InputError, match=r"lacks the tensor no\.such\.weight"):
            ask("no.such.weight")


def test_a_view_without_changes_shows_what_is_there(tmp_path: Path) -> None:
    whole = checkpoint_from_path(write_tiny_bert(tmp_path / "checkpoint")).weights
    view = WeightsView(whole, whole)
    assert list(view) == list(whole) and view.files == whole.files
    for name in whole:
        assert (view.array(name) == whole.array(name)).all() and view.stored_name(name) == whole.stored_name(name)
