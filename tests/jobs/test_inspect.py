"""What `bertc inspect` tells of a head."""

from __future__ import annotations

from bertc.core.head import Head
from bertc.jobs.inspect import facts_of_head


def test_of_a_head_is_told_what_it_has_and_a_nought_is_something() -> None:
    head = Head(task="fill-mask", labels=("a", "b"), mask=0, exit_threshold=0.0)
    facts = facts_of_head(head)
    assert (facts["mask"], facts["exit_threshold"], facts["labels"]) == (0, 0.0, ("a", "b"))
    assert not {"normalize", "crf", "lstm", "exits", "layer_weights"} & set(facts)
