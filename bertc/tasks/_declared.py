"""What a task says of itself, as most tasks do; one that is otherwise in something declares that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Declared:
    """See `bertc.evaluate.task.Task` for what each field says. A task names itself, its layout and `main_fidelity`."""

    window: int | None = None
    head_weights: tuple[str, ...] = ()
    sentence_modules: bool = False
    token_scores: bool = False
    crf: bool = False
    no_label_loss: str = ""
    hub_name: str = ""
