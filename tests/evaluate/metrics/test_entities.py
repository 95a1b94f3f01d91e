"""Entities and their F1: the cases of seqeval's and conlleval's definitions, worked by hand."""

from __future__ import annotations

import pytest

from bertc.errors import InputError
from bertc.evaluate.metrics.entities import (
    Scheme,
    entities_from_tags,
    entity_counts,
    entity_metric,
    scheme_from_labels,
    types_of_labels,
)


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
        ("ORG ORG O", [("ORG", 0, 1)]),  # seqeval takes the first letter for the prefix, so this for outside
        ("B-creative-work I-creative-work", [("creative-work", 0, 1)]),
    ],
)
def test_entities(tags: str, entities: list[tuple[str, int, int]]) -> None:
    assert entities_from_tags(tags.split()) == entities


def test_a_hyphen_in_a_name_is_no_prefix_where_tags_have_none() -> None:
    tags = ["E-mail", "E-mail", "O", "first-name", "first-name", "S-bahn"]
    assert scheme_from_labels([*tags, "URL"]) is Scheme.PLAIN
    assert entities_from_tags(tags, Scheme.PLAIN) == [("E-mail", 0, 1), ("first-name", 3, 4), ("S-bahn", 5, 5)]
    assert entities_from_tags(["B-first-name", "I-first-name"]) == [("first-name", 0, 1)]
    assert types_of_labels([*tags, "URL"]) == {"E-mail", "first-name", "S-bahn", "URL"}
    assert types_of_labels(["O", "B-first-name", "I-first-name", "I-last"]) == {"first-name", "last"}


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


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ("O B-PER I-PER B-LOC I-LOC", Scheme.BIO),
        ("O B-PER", Scheme.BIO),
        ("O I-PER I-LOC B-LOC", Scheme.IOB1),  # dbmdz's CoNLL-2003 model: types that never stand side by side
        ("O I-PER", Scheme.IOB1),
        ("O B-PER I-PER E-PER S-PER", Scheme.IOBES),
        ("O B-PER I-PER L-PER U-PER", Scheme.BILOU),
        ("O B-PER L-PER B-LOC U-LOC", Scheme.BILOU),
        ("O PER LOC", Scheme.PLAIN),
        ("NOUN VERB X-bar", Scheme.PLAIN),
        ("O B-PER MISC", Scheme.PLAIN),
        ("O E-mail L-shape", Scheme.PLAIN),
    ],
)
def test_the_scheme_is_read_from_the_whole_label_set(labels: str, scheme: Scheme) -> None:
    assert scheme_from_labels(labels.split()) == scheme


def test_two_schemes_at_once_are_refused() -> None:
    with pytest.raises(InputError, match=r"BILOU .* and IOBES .* at once"):
        scheme_from_labels(["O", "B-PER", "I-PER", "L-PER", "S-PER"])


# Expected: seqeval 1.2.2, Entities(..., scheme=BILOU), the strict mode's.
BILOU = [
    ("U-PER O B-PER I-PER I-PER L-PER O B-LOC L-LOC O", [("PER", 0, 0), ("PER", 2, 5), ("LOC", 7, 8)]),
    ("U-LOC O U-LOC", [("LOC", 0, 0), ("LOC", 2, 2)]),
    ("U-PER U-PER", [("PER", 0, 0), ("PER", 1, 1)]),
    ("B-PER I-PER O", []),
    ("B-PER O", []),
    ("I-PER L-PER", []),
    ("L-PER", []),
    ("B-PER L-LOC", []),
    ("B-PER I-LOC L-PER", []),
    ("B-PER B-PER L-PER", [("PER", 1, 2)]),
    ("B-PER U-PER L-PER", [("PER", 1, 1)]),
    ("B-PER L-PER L-PER", [("PER", 0, 1)]),
    ("", []),
]


@pytest.mark.parametrize(("tags", "entities"), BILOU)
def test_bilou_and_iobes_count_what_begins_and_ends(tags: str, entities: list[tuple[str, int, int]]) -> None:
    assert entities_from_tags(tags.split(), Scheme.BILOU) == entities
    iobes = tags.replace("L-", "E-").replace("U-", "S-")
    assert entities_from_tags(iobes.split(), Scheme.IOBES) == entities


def test_the_scheme_reaches_the_counts() -> None:
    gold, given = ["B-PER", "I-PER", "L-PER"], ["B-PER", "I-PER", "I-PER"]
    assert entity_counts(gold, given, scheme=Scheme.BILOU) == (0, 0, 1)
    assert entity_counts(gold, gold, scheme=Scheme.BILOU) == (1, 1, 1)
    metric = entity_metric("f1", lambda tags: tags, scheme=Scheme.BILOU)
    assert metric.value([gold], [given]) == 0 and metric.value([gold], [gold]) == 1
