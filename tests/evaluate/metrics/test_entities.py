"""Entities and their F1: the cases of seqeval's and conlleval's definitions, worked by hand."""

from __future__ import annotations

import pytest

from bertc.evaluate.metrics.entities import entities_from_tags, entity_counts, entity_metric


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("O O", []),
        ("", []),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("I-PER I-PER O", [("PER", 0, 1)]),  # lenient: an I- may begin
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # and another type begins anew
        ("O I-LOC B-LOC I-LOC", [("LOC", 1, 1), ("LOC", 2, 3)]),
        ("B-MISC I-MISC I-MISC", [("MISC", 0, 2)]),
        ("B-PER I-PER E-PER S-LOC O", [("PER", 0, 2), ("LOC", 3, 3)]),  # IOBES
        ("S-PER S-PER I-PER", [("PER", 0, 0), ("PER", 1, 1), ("PER", 2, 2)]),
        ("PER PER O LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # without prefixes
        ("B-creative-work I-creative-work", [("creative-work", 0, 1)]),
    ],
)
def test_entities(tags: str, entities: list[tuple[str, int, int]]) -> None:
    assert entities_from_tags(tags.split()) == entities


def test_seqevals_own_example() -> None:
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    given = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    values = {base: entity_metric(base, lambda tags: tags).value(gold, given) for base in ("f1", "precision", "recall")}
    assert values == {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    assert entity_metric("f1", lambda tags: tags, "PER").value(gold, given) == 1
    assert entity_metric("f1", lambda tags: tags, "MISC").value(gold, given) == 0


def test_counts_of_one_type() -> None:
    gold, given = ["B-A", "I-A", "O", "B-B"], ["B-A", "O", "B-B", "B-B"]
    assert entity_counts(gold, given) == (1, 3, 2)
    assert entity_counts(gold, given, "B") == (1, 2, 1)
    assert entity_counts(gold, given, "C") == (0, 0, 0)
