"""The training loop: steps, looks at what is held out, early stopping, and states to go on from.

A run's figures follow from its recipe and data alone: the order is seeded, the length of the run is fixed before the
first step, and a state is taken between two steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from bertc.core.example import Example
from bertc.core.exits import WEIGHTS as EXIT_WEIGHTS
from bertc.core.progress import Progress
from bertc.errors import InputError
from bertc.recipe import TrainingRecipe
from bertc.train.batches import Order, parts_of_share, steps_from, units_of_step
from bertc.train.distributed import Processes
from bertc.train.held_out import LOSS, Evaluation
from bertc.train.losses import Objective, part_from_examples
from bertc.train.network import Network
from bertc.train.replace import Replacement
from bertc.train.state import StateFolder
from bertc.train.step_plan import Pace, Plan, plan_from_recipe, rate_of_step
from bertc.train.widened import Widened

PACE_SECONDS = 4.0
PACE_STEPS = 3
"""A pace is measured over at least so long and so many steps."""

MOST_PACE_STEPS = 50


@dataclass(kw_only=True)
class Position:
    """Where a run is. It mutates with every step; all of it but `best` are plain numbers.

    `curve` has an entry per look at what is held out, `sums` are the losses since the last one, `best` the weights of
    the best look.
    """

    step: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    best_loss: float = math.inf
    best: dict[str, torch.Tensor] | None = None
    looks_without_gain: int = 0
    stopped: bool = False
    texts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did; the network holds its best weights. `teacher` is the teacher's score on what is held out."""

    plan: Plan
    steps: int
    texts: int
    seconds: float
    best_step: int
    curve: Sequence[Mapping[str, Any]]
    teacher: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Who learns what from whom: the network that is trained, its teacher, the text, and what is measured on it.

    `evaluation` is None where nothing is held out, `replacement` where no token is replaced.
    """

    network: Network | Widened
    teacher: Network | None
    examples: Sequence[Example]
    objective: Objective
    evaluation: Evaluation | None
    replacement: Replacement | None


class Trainer:
    """Trains one network. It mutates: network, optimizer and position."""

    def __init__(
        self,
        lesson: Lesson,
        *,
        recipe: TrainingRecipe,
        processes: Processes,
        precision: AbstractContextManager[Any],
        folder: StateFolder,
        progress: Progress,
    ) -> None:
        self.lesson = lesson
        self.network = lesson.network
        self.recipe = recipe
        self.processes = processes
        self.folder = folder
        self.progress = progress
        self.position = Position()
        self._precision = precision
        self._lengths = [example.feature.length for example in lesson.examples]
        self._module = processes.module(lesson.network)
        self._optimizer = _optimizer(lesson.network, recipe)

    def train(self, *, resume: bool) -> Outcome:
        """Train to the end, from the folder's state or from the beginning.

        Raises `InputError` when the loss is no number any more, or a state cannot be read or written.
        """
        plan = self._restored_plan() if resume else self._new_plan()
        self.progress.stage("train", total=plan.steps)
        self.progress.advance(self.position.step)
        for step in self._steps(plan):
            begin = time.perf_counter()
            self._step(step, plan)
            if self.position.step % plan.evaluate_every == 0 or self.position.step == plan.steps:
                self._look()
            self.position.seconds += time.perf_counter() - begin
            self.progress.advance()
            if self.processes.writes and self.folder.due():
                self._save(plan)
        return self._conclude(plan)

    def _steps(self, plan: Plan) -> Iterator[tuple[Order, ...]]:
        recipe, position = self.recipe, self.position
        every = steps_from(
            self._lengths,
            rows=recipe.batch_size,
            accumulate=recipe.accumulate,
            seed=recipe.seed,
            first=position.step,
        )
        while position.step < plan.steps and not position.stopped:
            yield next(every)

    def _step(self, step: tuple[Order, ...], plan: Plan) -> None:
        """Compute the gradient of a step over all processes, check it and follow it."""
        position = self.position
        sums = self._backward(step, position.step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip))
        if not math.isfinite(norm):  # the same in all processes, after their gradients are added
            raise InputError(
                f"the gradient is not a number at step {position.step + 1}; use a lower --learning-rate, or "
                "--precision fp32"
            )
        rate = rate_of_step(position.step, steps=plan.steps, warmup=self.recipe.warmup, schedule=self.recipe.schedule)
        for group in self._optimizer.param_groups:
            group["lr"] = group["largest_rate"] * rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        for name, value in sums.items():
            position.sums[name] = position.sums.get(name, 0.0) + value
        position.summed += 1
        position.step += 1
        position.texts += sum(map(len, step))

    def _backward(self, step: tuple[Order, ...], number: int) -> dict[str, float]:
        """Add up the gradient of this process's share of a step; returns the share's losses."""
        world = self.processes.world
        objective = self.lesson.objective
        examples: Sequence[Example] | Mapping[int, Example] = self.lesson.examples
        if self.lesson.replacement is not None:
            examples = self.lesson.replacement.step_examples(self.lesson.examples, step, number)
        units = units_of_step(examples, step)
        shares = parts_of_share(step, self._lengths, rank=self.processes.rank, world=world)
        # A process without a share runs one example for nothing, since the others wait for its gradient.
        orders = [(order, 1.0) for order in shares] or [((step[0][0],), 0.0)]
        sums: dict[str, float] = {}
        for number, (order, weight) in enumerate(orders):
            part = part_from_examples(examples, order, self.processes.device)
            with self._unsynchronized(last=number + 1 == len(orders)):
                with self._precision:
                    theirs = self._teacher_values(part.feeds)
                    ours = self._module(part.feeds, objective.wanted)
                    losses = objective.losses(ours, theirs, part, units)
                # The processes' gradients are averaged, and each loss is already divided by the whole step's units.
                torch.autograd.backward(objective.total(losses) * (world * weight))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * weight
        return sums

    def _unsynchronized(self, *, last: bool) -> AbstractContextManager[Any]:
        if last or self.processes.world == 1:
            return nullcontext()
        assert isinstance(self._module, DistributedDataParallel)
        context: AbstractContextManager[Any] = self._module.no_sync()
        return context

    def _teacher_values(self, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.lesson.teacher is None:
            return {}
        with torch.no_grad():
            values: dict[str, torch.Tensor] = self.lesson.teacher(feeds, self.lesson.objective.wanted_of_teacher)
            return values

    def _look(self) -> None:
        """Measure what is held out, remember the best weights, and decide whether to stop."""
        position = self.position
        entry: dict[str, Any] = {"step": position.step}
        totals = self.processes.gathered(position.sums)
        for name in position.sums:
            entry[f"train_{name}"] = sum(sums[name] for sums in totals) / position.summed
        position.sums, position.summed = {}, 0
        if self.lesson.evaluation is not None:
            found = self.lesson.evaluation.measure(self.network, self.lesson.teacher) if self.processes.writes else None
            entry |= {f"held_out_{name}": value for name, value in self.processes.first(found).items()}
            self._compare(float(entry[f"held_out_{LOSS}"]))
        position.curve.append(entry)
        rate = position.texts / position.seconds if position.seconds else 0.0
        self.progress.note(_line(entry, rate))
        if position.stopped:
            self.progress.note(
                f"training stops here: {position.looks_without_gain} looks without a gain on what is held out "
                f"(patience {self.recipe.patience})"
            )

    def _compare(self, loss: float) -> None:
        position = self.position
        if not math.isfinite(loss):
            raise InputError(
                f"the loss on what is held out is not a number after step {position.step}; use a lower "
                "--learning-rate, or --precision fp32"
            )
        if loss < position.best_loss:
            position.best_loss, position.looks_without_gain = loss, 0
            position.best = _copied(self.network.state_dict())
        else:
            position.looks_without_gain += 1
            patience = self.recipe.patience
            position.stopped = patience is not None and position.looks_without_gain >= patience

    def _new_plan(self) -> Plan:
        """Look at the untrained student, fix the length of the run, and keep the state."""
        self.progress.stage("evaluate the start")
        begin = time.perf_counter()
        self._look()
        evaluation = time.perf_counter() - begin
        plan = plan_from_recipe(self.recipe, len(self.lesson.examples), lambda: self._pace(evaluation))
        plan = Plan(**self.processes.first(plan.as_dict()))
        if self.processes.writes:
            self._save(plan)
        return plan

    def _pace(self, evaluation: float) -> Pace:
        """Time a few steps, whose gradients are thrown away."""
        self.progress.stage("measure the pace")
        recipe = self.recipe
        mean = sum(self._lengths) / len(self._lengths) * recipe.batch_size * recipe.accumulate
        steps = steps_from(
            self._lengths, rows=recipe.batch_size, accumulate=recipe.accumulate, seed=recipe.seed, first=0
        )
        tokens, begin = 0, time.perf_counter()
        for number in range(MOST_PACE_STEPS + 1):
            step = next(steps)
            self._backward(step, number)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
            self._optimizer.zero_grad(set_to_none=True)
            if number == 0:  # the first one allocates
                begin = time.perf_counter()
                continue
            tokens += sum(self._lengths[place] for batch in step for place in batch)
            seconds = self.processes.first(time.perf_counter() - begin)
            if number >= PACE_STEPS and seconds >= PACE_SECONDS:
                break
        pace = Pace(step=(time.perf_counter() - begin) / tokens * mean, evaluation=evaluation)
        found: Pace = self.processes.first(pace)
        return found

    def _save(self, plan: Plan) -> None:
        position = {name: value for name, value in vars(self.position).items() if name != "best"}
        self.folder.save(
            {
                "plan": plan.as_dict(),
                "position": position,
                "network": self.network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "best": self.position.best,
                "random": torch.get_rng_state(),
            }
        )

    def _restored_plan(self) -> Plan:
        """Take up a run where its state was saved."""
        state = self.processes.first(self.folder.load() if self.processes.writes else None)
        self.position = Position(**state["position"], best=state["best"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        plan = Plan(**state["plan"])
        self.progress.note(f"resumed after step {self.position.step} of {plan.steps}")
        return plan

    def _conclude(self, plan: Plan) -> Outcome:
        position = self.position
        best_step = position.step
        if position.best is not None:
            self.network.load_state_dict(position.best)
            best_step = min(position.curve, key=lambda entry: float(entry[f"held_out_{LOSS}"]))["step"]
        return Outcome(
            plan=plan,
            steps=position.step,
            texts=position.texts,
            seconds=position.seconds,
            best_step=best_step,
            curve=tuple(position.curve),
            teacher=self._score_of_teacher(),
        )

    def _score_of_teacher(self) -> Mapping[str, float | None]:
        evaluation, teacher = self.lesson.evaluation, self.lesson.teacher
        if evaluation is None or teacher is None or not self.processes.writes:
            return {}
        return evaluation.score_of_teacher(teacher)


def _optimizer(network: Network | Widened, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """Return AdamW: matrices decay, vectors do not; the logarithms of scales and the exits have rates of their own."""
    exits = {id(weight) for name, weight in network.initializer_parameters().items() if name.startswith(EXIT_WEIGHTS)}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for parameter in network.parameters():
        own = recipe.exit_rate if id(parameter) in exits else recipe.learning_rate
        rate = own if parameter.ndim else recipe.scale_rate
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "largest_rate": rate}
            for (rate, decay), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


def _copied(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _line(entry: Mapping[str, Any], rate: float) -> str:
    values = [
        f"{name.replace('held_out_', 'held-out ').replace('train_', '')} {value:.4g}"
        for name, value in entry.items()
        if name != "step" and value is not None
    ]
    speed = f", {rate:.0f} sentences/s" if rate else ""
    return f"step {entry['step']}: {', '.join(values)}{speed}"
