"""Each loss against its formula, written down directly; what must not count does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from bertc.core.crf import Crf
from bertc.core.example import IGNORED, Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Problem
from bertc.errors import InputError
from bertc.evaluate.losses import crf_loss
from bertc.evaluate.task import Tensors
from bertc.tasks import task_from_name
from bertc.train.batches import Units
from bertc.train.losses import (
    Objective,
    Part,
    attention_loss,
    hidden_loss,
    label_loss,
    part_from_examples,
)
from tests.tiny import Array

LABELS = ("a", "b", "c")
GENERATOR = np.random.default_rng(0)
LENGTHS = (5, 3, 4)


def example(length: int, **fields: object) -> Example:
    ids = np.ones(length, np.int64)
    return Example(feature=Feature(input_ids=ids, token_type_ids=ids, row=0), **fields)  # type: ignore[arg-type]


def part_of(*golds: object, scored: bool = False) -> Part:
    examples = []
    for length, gold in zip(LENGTHS, golds, strict=True):
        marks = np.arange(length) % 2 == 1 if scored else None
        examples.append(example(length, gold=None if gold is None else np.asarray(gold), scored=marks))
    return part_from_examples(examples, tuple(range(len(examples))), torch.device("cpu"))


def random(*shape: int) -> Array:
    return GENERATOR.normal(size=shape).astype(np.float32)


def tensors(**arrays: Array) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def head_of(problem: Problem) -> Head:
    return Head(task="sequence-classification", labels=LABELS, problem=problem)


def logit_loss(head: Head, outputs: Tensors, teacher: Tensors, part: Part, temperature: float) -> torch.Tensor:
    return task_from_name(head.task).logit_loss(head, outputs, teacher, part, temperature)


def test_a_label() -> None:
    logits = random(3, 3)
    expected = -sum(log_softmax(logits, -1)[row, label] for row, label in enumerate((2, 0, 1)))
    part = part_of(np.int64(2), np.int64(0), np.int64(1))
    assert float(label_loss(head_of(Problem.SINGLE_LABEL), tensors(logits=logits), part)) == pytest.approx(expected)
    part = part_of(np.int64(2), None, np.int64(1))
    expected += log_softmax(logits, -1)[1, 0]
    assert float(label_loss(head_of(Problem.SINGLE_LABEL), tensors(logits=logits), part)) == pytest.approx(expected)


def test_several_labels_and_a_score() -> None:
    logits, gold = random(3, 3), np.float32([[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    chance = 1 / (1 + np.exp(-logits))
    expected = -(gold * np.log(chance) + (1 - gold) * np.log(1 - chance)).mean(-1).sum()
    found = label_loss(head_of(Problem.MULTI_LABEL), tensors(logits=logits), part_of(*gold))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    scores = random(3, 1)
    found = label_loss(head_of(Problem.REGRESSION), tensors(logits=scores), part_of(*np.float32([1, 2, 3])))
    assert float(found) == pytest.approx(float(((scores[:, 0] - [1, 2, 3]) ** 2).sum()), rel=1e-5)


def test_tags_count_at_their_words_alone() -> None:
    head = Head(task="token-classification", labels=LABELS)
    logits = random(3, 5, 3)
    tags = [np.full(length, IGNORED, np.int64) for length in LENGTHS]
    tags[0][1], tags[2][3] = 2, 0
    expected = -log_softmax(logits, -1)[0, 1, 2] - log_softmax(logits, -1)[2, 3, 0]
    part = part_of(*tags, scored=True)
    assert float(label_loss(head, tensors(logits=logits), part)) == pytest.approx(expected)
    logits[0, 0] += 9  # a special token
    logits[1, 4] += 9  # padding
    assert float(label_loss(head, tensors(logits=logits), part)) == pytest.approx(expected)
    logits[0, 1, 0] += 9
    assert float(label_loss(head, tensors(logits=logits), part)) != pytest.approx(expected)


def test_a_crf_s_loss_is_that_of_all_sequences_that_have_the_known_tags() -> None:
    scores = random(3, 3), random(3), random(3)
    transitions, start, end = scores
    crf = Crf(transitions=tuple(map(tuple, transitions.tolist())), start=tuple(start.tolist()), end=tuple(end.tolist()))
    head = Head(task="token-classification", labels=LABELS, crf=crf)
    logits = random(3, 5, 3)
    tags = [np.full(length, IGNORED, np.int64) for length in LENGTHS]
    tags[0][[1, 3]], tags[2][3] = (2, 1), 0  # scored are the tokens 1 and 3; one tag of the last text is unknown

    def total(emissions: Array, known: Array) -> float:
        """Sum exp of the scores over the sequences that have the known tags."""
        found = 0.0
        for path in product(range(3), repeat=len(emissions)):
            if all(tag in (IGNORED, chosen) for tag, chosen in zip(known, path, strict=True)):
                inner = sum(transitions[pair] for pair in pairwise(path))
                found += np.exp(start[path[0]] + emissions[range(len(path)), path].sum() + inner + end[path[-1]])
        return found

    expected = 0.0
    for row, (length, known) in enumerate(zip(LENGTHS, tags, strict=True)):
        places = np.arange(1, length, 2)
        unknown = np.full(len(places), IGNORED)
        expected += np.log(total(logits[row, places], unknown) / total(logits[row, places], known[places]))
    part = part_of(*tags, scored=True)
    assert float(label_loss(head, tensors(logits=logits), part)) == pytest.approx(expected, rel=1e-5)
    logits[0, [0, 2]] += 9  # what is not scored
    logits[1, 4] += 9  # padding
    assert float(label_loss(head, tensors(logits=logits), part)) == pytest.approx(expected, rel=1e-5)
    logits[0, 1, 0] += 9
    assert float(label_loss(head, tensors(logits=logits), part)) != pytest.approx(expected, rel=1e-2)


def test_a_text_without_words_adds_nothing_to_a_crf_s_loss() -> None:
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    emissions = torch.from_numpy(random(2, 4, 3)).requires_grad_()
    chain = torch.zeros(3, 3), torch.zeros(3), torch.zeros(3)
    loss = crf_loss(emissions, torch.full((2, 4), IGNORED), nothing, chain)
    loss.backward()
    assert float(loss.detach()) == 0 and emissions.grad is not None and not emissions.grad.any()


def test_an_answer_is_sought_in_the_context_at_all_its_places() -> None:
    head = Head(task="question-answering")
    start, end = random(3, 5), random(3, 5)
    first = np.zeros((2, 5), bool)
    first[0, [1, 3]] = first[1, 3] = True
    part = part_of(first, None, None, scored=True)  # the context is the tokens 1 and 3
    chances = softmax(start[0, [1, 3]]), softmax(end[0, [1, 3]])
    expected = -(np.log(chances[0].sum()) + np.log(chances[1][1])) / 2
    values = tensors(start_logits=start, end_logits=end)
    assert float(label_loss(head, values, part)) == pytest.approx(expected, rel=1e-4)
    values["end_logits"][0, 2] += 9  # outside the context
    assert float(label_loss(head, values, part)) == pytest.approx(expected, rel=1e-4)
    values["end_logits"][0, 1] += 9
    assert float(label_loss(head, values, part)) > 2 * expected


def test_no_label_at_all_is_no_loss_but_has_a_gradient() -> None:
    logits = torch.zeros(3, 3, requires_grad=True)
    loss = label_loss(head_of(Problem.SINGLE_LABEL), {"logits": logits}, part_of(None, None, None))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0 and logits.grad is not None and not logits.grad.any()


def test_embeddings_learn_nothing_from_labels() -> None:
    values = tensors(sentence_embedding=random(3, 8))
    with pytest.raises(InputError, match="embeddings have no loss of labels; leave labels at 0"):
        label_loss(Head(task="feature-extraction"), values, part_of(*np.float32([1, 2, 3])))


def divergence(ours: Array, theirs: Array) -> Array:
    chance = softmax(theirs, -1)
    found: Array = (chance * (np.log(chance) - log_softmax(ours, -1))).sum(-1)
    return found


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_teachers_logits(temperature: float) -> None:
    ours, theirs = random(3, 3), random(3, 3)
    expected = temperature**2 * divergence(ours / temperature, theirs / temperature).sum()
    values = tensors(logits=ours), tensors(logits=theirs)
    part = part_of(None, None, None)
    found = logit_loss(head_of(Problem.SINGLE_LABEL), *values, part, temperature)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    pairs = [np.stack([x, np.zeros_like(x)], -1) / temperature for x in (ours, theirs)]
    expected = temperature**2 * divergence(*pairs).mean(-1).sum()
    found = logit_loss(head_of(Problem.MULTI_LABEL), *values, part, temperature)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    found = logit_loss(head_of(Problem.REGRESSION), *values, part, temperature)
    assert float(found) == pytest.approx(float(((ours - theirs) ** 2).sum()), rel=1e-4)


def test_the_teachers_tags_answers_and_embeddings() -> None:
    part = part_of(None, None, None, scored=True)
    assert part.scored is not None
    marks = part.scored.numpy()
    ours, theirs = random(3, 5, 3), random(3, 5, 3)
    expected = divergence(ours, theirs)[marks].sum()
    head = Head(task="token-classification", labels=LABELS)
    found = logit_loss(head, tensors(logits=ours), tensors(logits=theirs), part, 1.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)

    spans = [random(2, 3, 5), random(2, 3, 5)]
    expected = sum(divergence(*(span[side, row, marks[row]] for span in spans)) for side in (0, 1) for row in range(3))
    values = [tensors(start_logits=span[0], end_logits=span[1]) for span in spans]
    found = logit_loss(Head(task="question-answering"), *values, part, 1.0)
    assert float(found) == pytest.approx(float(expected) / 2, rel=1e-4)

    vectors = random(3, 8), random(3, 8)
    expected = (((vectors[0] - vectors[1]) ** 2).sum(-1) / (vectors[1] ** 2).sum(-1)).sum()
    values = [tensors(sentence_embedding=vector) for vector in vectors]
    found = logit_loss(Head(task="feature-extraction"), *values, part_of(None, None, None), 1.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_hidden_states_and_attention_leave_padding_out() -> None:
    part = part_of(None, None, None)
    mask = part.mask.numpy()
    states = [[random(3, 5, 8), random(3, 5, 8)] for _ in range(2)]
    errors = [((a - b) ** 2).sum(-1) / (b**2).sum(-1) for a, b in states]
    expected = np.mean([error[mask].sum() for error in errors])
    pairs = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in states]
    assert float(hidden_loss(pairs, part.mask)) == pytest.approx(float(expected), rel=1e-4)

    scores = [random(3, 2, 5, 5), random(3, 2, 5, 5)]
    expected = sum(
        divergence(*(0.5 * score[row, head, query, : LENGTHS[row]] for score in scores)) / 2
        for row in range(3)
        for head in range(2)
        for query in range(LENGTHS[row])
    )
    pair = (torch.from_numpy(scores[0]), torch.from_numpy(scores[1]))
    assert float(attention_loss([pair], part.mask, part.seen, 0.5)) == pytest.approx(float(expected), rel=1e-4)
    scores[0][1, :, 3:] += 9  # queries that are padding
    scores[0][1, :, :, 3:] += 9  # and keys
    assert float(attention_loss([pair], part.mask, part.seen, 0.5)) == pytest.approx(float(expected), rel=1e-4)


def test_an_objective_weighs_what_is_asked_for_and_wants_no_more() -> None:
    objective = Objective(
        head=head_of(Problem.SINGLE_LABEL),
        weights={"labels": 0.5, "logits": 2.0},
        temperature=1.0,
        layers=(0, 1),
        scaling=1.0,
    )
    assert objective.wanted == ()
    values = tensors(logits=random(3, 3)), tensors(logits=random(3, 3))
    part = part_of(np.int64(2), None, np.int64(1))
    losses = objective.losses(*values, part, Units(rows=3, labelled=2, outputs=3, tokens=12))
    alone = label_loss(objective.head, values[0], part) / 2, logit_loss(objective.head, *values, part, 1.0) / 3
    assert float(objective.total(losses)) == pytest.approx(float(0.5 * alone[0] + 2 * alone[1]), rel=1e-5)
    both = replace(objective, weights={"hidden": 1.0, "attention": 1.0})
    names = ("layer.0.hidden", "layer.1.hidden", "encoder.output", "layer.0.scores", "layer.1.scores")
    assert both.wanted == both.wanted_of_teacher == names
    half = replace(both, layers=(2, 5))
    assert half.wanted == names
    of_teacher = ("layer.0.hidden", "layer.3.hidden", "encoder.output", "layer.2.scores", "layer.5.scores")
    assert half.wanted_of_teacher == of_teacher


def test_attention_is_compared_with_the_teachers_heads_that_the_student_has() -> None:
    part = part_of(None, None, None)
    whole, pairs = [random(3, 4, 5, 5) for _ in range(2)], ((3, 1), (0, 2))
    student = {f"layer.{layer}.scores": random(3, 2, 5, 5) for layer in range(2)}
    objective = Objective(
        head=head_of(Problem.SINGLE_LABEL),
        weights={"attention": 1.0},
        temperature=1.0,
        layers=(0, 2),
        scaling=0.5,
        heads=pairs,
    )
    units = Units(rows=3, labelled=0, outputs=3, tokens=12)
    teacher = tensors(**{"layer.0.scores": whole[0], "layer.2.scores": whole[1]})
    found = objective.losses(tensors(**student), teacher, part, units)["attention"]
    chosen = [scores[:, list(heads)] for scores, heads in zip(whole, pairs, strict=True)]
    compared = [tuple(map(torch.from_numpy, both)) for both in zip(student.values(), chosen, strict=True)]
    expected = attention_loss([(a, b) for a, b in compared], part.mask, part.seen, 0.5) / units.tokens
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    others = replace(objective, heads=((1, 3), (0, 2)))
    assert float(others.losses(tensors(**student), teacher, part, units)["attention"]) != pytest.approx(float(found))
