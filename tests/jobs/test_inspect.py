"""What `bertc inspect` tells of a head."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.cli.commands.inspect import head_lines
from bertc.core.head import Exit, Head, Interaction, Pooling, Projection
from bertc.jobs.inspect import facts_of_checkpoint, facts_of_head
from tests.artefacts import Bertc
from tests.checkpoint.test_exit_classifiers import LAYERS, deebert, rewritten


def test_of_a_head_is_told_what_it_has_and_a_nought_is_something() -> None:
    head = Head(task="fill-mask", labels=("a", "b"), mask=0, exit_threshold=0.0)
    facts = facts_of_head(head)
    assert (facts["mask"], facts["exit_threshold"], facts["labels"]) == (0, 0.0, ("a", "b"))
    assert not {"normalize", "crf", "lstm", "exits", "layer_weights"} & set(facts)


EXITS = tuple(Exit(layer=layer, dense="a", classifier="b", pooling=Pooling.MEAN) for layer in (0, 3))
INTERACTION = Interaction(
    query_marker=0,
    document_marker=None,
    query_length=32,
    document_length=180,
    filler=103,
    filler_seen=True,
    skipped=(999, 1012),
)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("exits", EXITS, "behind layers 1, 4, on the mean of the tokens"),
        (
            "projections",
            (Projection(folder="1_Dense", sizes=(8, 4), tanh=True),) * 2,
            "folder 1_Dense, sizes 8, 4, bias",
        ),
        ("interaction", INTERACTION, "query marker 0, query length 32, document length 180, filler 103, filler seen, "),
        ("layer_weights", (0.5, 0.25), "0.5, 0.25"),
        ("pooling", Pooling.MEAN, "mean"),
        ("exit_threshold", 0.0, "0"),
        ("normalize", True, "True"),
    ],
)
def test_a_head_is_told_in_words(name: str, value: object, told: str) -> None:
    lines = dict(head_lines(facts_of_head(Head(task="x", **{name: value}))))  # type: ignore[arg-type]
    assert lines[name.replace("_", " ")].startswith(told)
    assert not set("{}<>'") & set(lines[name.replace("_", " ")])


@pytest.mark.parametrize("early", [True, False])
def test_of_a_checkpoint_the_exits_that_it_holds_are_told(early: bool, bertc: Bertc, tmp_path: Path) -> None:
    """It is built without them unless they are asked for, so its head has none."""
    folder = rewritten(tmp_path / "model", deebert if early else lambda tensors: tensors)
    assert ("exits         behind layers 1, 2, on the first token" in bertc("inspect", folder).out) == early
    found = [each["layer"] for each in facts_of_checkpoint(str(folder))["exits"]]
    assert found == [*range(LAYERS - 1)] * early
