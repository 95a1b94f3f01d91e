"""What a training recipe names, read and checked before anything slow: checkpoints, data, what there is to learn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.same_tokens import COMPARED_ROWS, same_tokens
from bertc.core.progress import Progress
from bertc.data.dataset import dataset_from_path
from bertc.data.reading import Reading
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.jobs.inputs import reading_of_labelled
from bertc.recipe import Recipe, TrainingRecipe
from bertc.tasks import checked_rows, layout_from_head, task_from_name

if TYPE_CHECKING:
    from bertc.core.example import Example

HELD_OUT_PART = 10
"""At most one row in so many is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Both parts of the data as examples, and the rows of the part that is held out.

    `digest`, `reading` and `rows` (their number) are the whole file's; `compared` are some rows to compare tokenizers
    on.
    """

    path: str
    digest: str
    reading: Reading
    labelled: bool
    rows: int
    compared: tuple[Row, ...]
    examples: tuple[Example, ...]
    held_rows: tuple[Row, ...]
    held_examples: tuple[Example, ...]


def data_from_recipe(training: TrainingRecipe, checkpoint: Checkpoint, max_length: int) -> TrainingData:
    """Read, check, split and encode the training data."""
    from bertc.train.examples import examples_from_rows, split_rows

    if training.data is None:
        raise InputError("there is no training data; name a file with --train-data")
    head = checkpoint.head
    task = task_from_name(head.task)
    dataset = dataset_from_path(training.data, layout=layout_from_head(head), columns=training.columns)
    rows = checked_rows(task, dataset.rows, head, checkpoint.encoder)
    held_out = min(training.held_out, max(1, len(rows) // HELD_OUT_PART))
    kept, held = split_rows(rows, held_out, seed=training.seed, task=task)
    if not kept:
        raise InputError(
            f"{training.data} has {len(rows)} rows, and nothing is left to train on when some are held out; give more "
            "rows, or --held-out 0"
        )
    features = [task.features_from_rows(part, checkpoint.encoder, max_length) for part in (kept, held)]
    return TrainingData(
        path=training.data,
        digest=dataset.digest,
        reading=reading_of_labelled(dataset, rows, head),
        labelled=any(row.labelled for row in rows),
        rows=len(rows),
        compared=tuple(rows[:COMPARED_ROWS]),
        examples=examples_from_rows(kept, features[0], head),
        held_rows=held,
        held_examples=examples_from_rows(held, features[1], head),
    )


def teacher_from_recipe(
    training: TrainingRecipe, checkpoint: Checkpoint, data: TrainingData, *, whole: Checkpoint
) -> Checkpoint | None:
    """Read the teacher, None where nothing is distilled.

    Without one in the recipe it is `whole`: the checkpoint itself, or what it has some layers of. Raises `InputError`
    if the teacher cannot teach this checkpoint.
    """
    distilled = _weighted(training)
    if not distilled:
        return None
    if training.teacher is None:
        return whole
    teacher = checkpoint_from_path(training.teacher, task=checkpoint.head.task)
    ours, theirs = checkpoint.architecture, teacher.architecture
    if teacher.head.labels != checkpoint.head.labels or teacher.head.problem != checkpoint.head.problem:
        raise InputError(
            f"the teacher {teacher.path} has the labels {', '.join(teacher.head.labels[:10])}, the checkpoint "
            f"{', '.join(checkpoint.head.labels[:10])}; choose a teacher of the same task"
        )
    if "logits" in distilled and teacher.head.crf != checkpoint.head.crf:
        raise InputError(
            f"the scores of the teacher {teacher.path} belong to another CRF than {checkpoint.path} has, or to none; "
            "choose a teacher with the same CRF, or leave logits out of --distill"
        )
    for name, same in (
        ("hidden", ours.layers <= theirs.layers and ours.hidden == theirs.hidden),
        ("attention", ours.layers <= theirs.layers and ours.heads == theirs.heads),
    ):
        if name in distilled and not same:
            raise InputError(
                f"the teacher {teacher.path} has {theirs.layers} layers of {theirs.hidden} with {theirs.heads} heads, "
                f"the checkpoint {ours.layers} of {ours.hidden} with {ours.heads}; leave {name} out of --distill"
            )
    _check_same_tokens(checkpoint, teacher, data)
    return teacher


def losses_from_recipe(
    training: TrainingRecipe, checkpoint: Checkpoint, data: TrainingData, *, same: bool, progress: Progress
) -> dict[str, float]:
    """Return the weights of the losses that count. `same`: the teacher computes what the student begins with.

    Raises `InputError` where nothing is left to learn.
    """
    weights: dict[str, float] = dict(_weighted(training))
    labels = training.labels
    reason = task_from_name(checkpoint.head.task).no_label_loss
    if labels and reason:
        raise InputError(f"{reason}; leave labels at 0 and distill from a teacher")
    if labels and data.labelled:
        weights["labels"] = labels
    elif labels and "logits" not in weights:
        raise InputError(f"{data.path} has no labels, so there is only a teacher to learn from; add --distill logits")
    elif labels:
        progress.note(f"{data.path} has no labels: the student learns from its teacher alone")
    if same and "labels" not in weights:
        raise InputError(
            "the student is a copy of its teacher and has nothing to learn; name another checkpoint with --teacher, "
            "or train for INT8 (without --float)"
        )
    return weights


def run_from_recipe(recipe: Recipe, digests: Mapping[str, str]) -> dict[str, str]:
    """Return what a run is, name -> text: two runs with the same one give the same figures on one machine.

    `digests` are those of the files; where they lie, how many processes and threads there are, and the device do not
    count.
    """
    run = dict(digests)
    sections = {
        "calibration": recipe.calibration.model_dump(mode="json", exclude={"data", "table"}),
        "quantization": recipe.quantization.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json", exclude={"data", "teacher", "device"}),
        "engine": recipe.engine.model_dump(mode="json", include={"target", "max_length"}),
    }
    for section, fields in sections.items():
        run |= {f"{section}.{name}": json.dumps(value, sort_keys=True) for name, value in fields.items()}
    return run


def _weighted(training: TrainingRecipe) -> dict[str, float]:
    if training.early_exit:
        return {"logits": training.distill["logits"]} if training.distill.get("logits") else {}
    return {str(name): weight for name, weight in training.distill.items() if weight}


def _check_same_tokens(checkpoint: Checkpoint, teacher: Checkpoint, data: TrainingData) -> None:
    """Refuse a teacher that reads other tokens in the same text."""
    task = task_from_name(checkpoint.head.task)
    length = min(checkpoint.encoder.max_length, teacher.encoder.max_length)
    if not same_tokens(checkpoint, teacher, lambda encoder: task.features_from_rows(data.compared, encoder, length)):
        raise InputError(
            f"the teacher {teacher.path} splits text into other tokens than {checkpoint.path}; choose a teacher with "
            "the same tokenizer"
        )
