"""How much smaller than its teacher a student is, and the checkpoint that it begins as."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.checkpoint import Checkpoint
from bertc.checkpoint.kept_layers import checkpoint_with_layers, spaced_layers
from bertc.checkpoint.kept_width import KeptWidth, check_width, checkpoint_of_width, first_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """How many of a checkpoint's layers a student has, and of its channels; None for all."""

    layers: int | None = None
    hidden: int | None = None

    def kept_layers(self, teacher: Checkpoint) -> tuple[int, ...]:
        """Return which of the teacher's layers the student has."""
        every = teacher.architecture.layers
        return spaced_layers(every if self.layers is None else self.layers, every)

    def checkpoint(self, teacher: Checkpoint, width: KeptWidth | None = None) -> Checkpoint:
        """Return the student as it begins; without a `width`, of its size and with the teacher's first channels.

        Raises `InputError` where a student is no smaller, and for models that have none.
        """
        student = teacher if self.layers is None else checkpoint_with_layers(teacher, self.layers)
        if self.hidden is None:
            return student
        check_width(student, self.hidden)
        return checkpoint_of_width(student, width or first_width(student.architecture, self.hidden))


WHOLE = Smaller()
