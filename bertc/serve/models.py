"""The models of a server: artefacts by name, each open once, which can be exchanged while requests are answered."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.task import RawOutputs
from bertc.jobs.engine_choice import EngineWish
from bertc.jobs.predict import Encoded, Predictor, predictor_from_path
from bertc.serve.batcher import Batcher
from bertc.serve.bounds import Limits
from bertc.serve.counters import Counters
from bertc.serve.first_batch import first_batch
from bertc.serve.refused import Reason, RefusalError, check_text
from bertc.tasks import outputs_from_head

INLINE_CHARACTERS = 8192
"""Text that is encoded where it stands, in a few milliseconds; more goes to a thread, so that others are answered."""

INLINE_TEXTS = 16
"""Texts whose answers are written down where that stands."""

P = ParamSpec("P")
T = TypeVar("T")
Texts = tuple[str, ...]
"""A text or a pair of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How artefacts are opened: threads of each engine (0: all cores), and whether a verdict has to be a pass."""

    limits: Limits = field(default_factory=Limits)
    threads: int = 0
    allow_failed: bool = False
    engine: str | None = None
    """Of several engines in a folder: this one, or the first that runs here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says of some texts: the task's outputs, an entry per text or pair, and what they were read from."""

    predictor: Predictor
    encoded: Encoded
    outputs: Any
    arrays: dict[str, list[NDArray[np.float32]]]
    """What the engine says of each feature, by the outputs' names."""

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """The outputs as `bertc predict` gives them."""
        return self.predictor.task.predictions(self.encoded.rows, self.outputs, self.predictor.head)

    async def predicted(self) -> list[dict[str, Any]]:
        """Return the predictions; those of many texts are made in a thread."""
        return await _aside(len(self.encoded.rows) > INLINE_TEXTS, lambda: self.predictions)

    @property
    def tokens(self) -> int:
        """Tokens that the engine ran, special ones included."""
        return sum(feature.length for feature in self.encoded.features)

    @property
    def truncated(self) -> list[Feature]:
        """The features whose text was cut off."""
        return [feature for feature in self.encoded.features if feature.truncated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the engine says of features: its arrays by the outputs' names, one per feature, without padding."""

    predictor: Predictor
    features: Sequence[Feature]
    arrays: dict[str, list[NDArray[np.float32]]]

    @property
    def tokens(self) -> int:
        """Tokens that the engine ran, special ones included."""
        return sum(feature.length for feature in self.features)


class ServedModel:
    """An artefact under a name. `load` opens it, and opens it again where its folder was replaced."""

    def __init__(self, name: str, folder: Path, settings: Settings, counters: Counters) -> None:
        self.name = name
        self.folder = folder
        self._settings = settings
        self._counters = counters
        self._open: _Open | None = None
        self._head: Head | None = None
        self._loading = asyncio.Lock()
        self._next: asyncio.Future[None] | None = None
        """The load that has not begun yet, behind which nothing else waits."""

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._open is not None

    @property
    def predictor(self) -> Predictor:
        """The open artefact, of which a caller only reads. Raises `RefusalError` before it is open."""
        if self._open is None:
            raise RefusalError(Reason.UNREADY, f"the model {self.name} is not loaded")
        return self._open.predictor

    @property
    def head(self) -> Head:
        """What the model gives, or gave before it was closed. Raises `RefusalError` before it is open."""
        if self._head is None:
            raise RefusalError(Reason.UNREADY, f"the model {self.name} is not loaded")
        return self._head

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.head.task

    @property
    def limits(self) -> Limits:
        """What the server takes on at most."""
        return self._settings.limits

    @property
    def waiting_tokens(self) -> int:
        """How many tokens no batch has taken yet."""
        return 0 if self._open is None else self._open.batcher.waiting_tokens

    async def load(self) -> None:
        """Open the artefact and answer with it from now on; requests that began with an older one end with that.

        One that has not begun yet is for all who ask meanwhile: they want the folder as it is from now on.

        Raises `InputError` and `EnvironmentLackError` where it cannot be opened, or did not pass: the older one stays.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._load())
        await asyncio.shield(self._next)  # it is others', too

    async def _load(self) -> None:
        async with self._loading:
            if self._next is asyncio.current_task():
                self._next = None
            await self._exchange()

    async def _exchange(self) -> None:
        predictor, rate = await asyncio.to_thread(self._opened)
        older = self._open
        if older is not None:  # beside it, which answers meanwhile, the newer one seemed slower than it is
            rate = max(rate, older.batcher.rate)
        self._open = _Open(predictor, self._settings.limits, self._observe, rate)
        self._head = predictor.head
        self._counters.loads.labels(self.name).inc()
        if older is not None:
            await older.close()
        older = None  # or it would be among what stays
        _settle()

    async def unload(self) -> None:
        """Answer what was taken on, and close."""
        self._next = None  # a load that is asked for from now on comes behind this
        async with self._loading:
            older, self._open = self._open, None
            if older is not None:
                await older.close()
                older = None
                _settle()

    async def answer(self, texts: Sequence[Texts]) -> Answer:
        """Answer texts or pairs. Raises `RefusalError`, and `InputError` for texts that the task does not take."""
        self._check_room()
        self._check_count(len(texts))
        check_text(texts)
        large = sum(len(text) for each in texts for text in each) > INLINE_CHARACTERS
        rows = [row_from_texts(*each, id=str(number)) for number, each in enumerate(texts)]
        with self._using() as used:
            encoded = await _aside(large, used.predictor.encoded, rows)
            raw = await used.batcher.outputs(encoded.features)
            outputs = await _aside(large, used.predictor.row_outputs, encoded, raw)
            arrays = _arrays(used.predictor, raw)
            return Answer(predictor=used.predictor, encoded=encoded, outputs=outputs, arrays=arrays)

    async def answer_features(self, texts: int, features_of: Callable[[Predictor], Sequence[Feature]]) -> Ran:
        """Run features that are made for the open artefact of so many texts. Raises `RefusalError`, theirs too."""
        self._check_room()
        self._check_count(texts)
        with self._using() as used:
            features = await _aside(texts > INLINE_TEXTS, features_of, used.predictor)
            raw = await used.batcher.outputs(features)
            return Ran(predictor=used.predictor, features=features, arrays=_arrays(used.predictor, raw))

    def _check_count(self, texts: int) -> None:
        most = self._settings.limits.request_texts
        if texts > most:
            raise RefusalError(Reason.TOO_LARGE, f"a request has at most {most} texts, and this one has {texts}")

    def _check_room(self) -> None:
        """Refuse before anything is done: that is what lets a busy server answer those who wait."""
        if self._open is not None:
            self._open.batcher.check_room()

    @contextmanager
    def _using(self) -> Iterator[_Open]:
        """Hold what is open now, so that it is not closed before the end."""
        if self._open is None:
            raise RefusalError(Reason.UNREADY, f"the model {self.name} is not loaded")
        used = self._open
        used.users += 1
        try:
            yield used
        finally:
            used.users -= 1
            if not used.users:
                used.idle.set()

    def _opened(self) -> tuple[Predictor, float]:
        """Return the open artefact, and how many tokens a second it runs."""
        wish = EngineWish(target=self._settings.engine, allow_failed=self._settings.allow_failed)
        predictor = predictor_from_path(self.folder, threads=self._settings.threads, wish=wish)
        if predictor.caution and not self._settings.allow_failed:
            predictor.close()
            raise InputError(f"{predictor.caution}; build it until it passes, or serve it with --allow-failed")
        try:
            features = first_batch(predictor, self._settings.limits.batch_tokens)
            predictor.run_features(features)
            begin = time.perf_counter()
            predictor.run_features(features)
            seconds = time.perf_counter() - begin
        except BaseException:
            predictor.close()
            raise
        return predictor, sum(feature.length for feature in features) / seconds

    def _observe(self, texts: int, tokens: int) -> None:
        self._counters.batch_texts.labels(self.name).observe(texts)
        self._counters.batch_tokens.labels(self.name).observe(tokens)


class _Open:
    """An open artefact with its queue, and how many requests use it."""

    def __init__(self, predictor: Predictor, limits: Limits, observe: Callable[[int, int], None], rate: float) -> None:
        self.predictor = predictor
        self.batcher = Batcher(predictor.run_features, limits, observe, rate=rate)
        self.users = 0
        self.idle = asyncio.Event()

    async def close(self) -> None:
        """Wait until nobody uses it, and free the engine."""
        while self.users:
            self.idle.clear()
            await self.idle.wait()
        await self.batcher.close()
        self.predictor.close()


class Models(Mapping[str, ServedModel]):
    """All models of a server by name, in the order in which they were named."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def named(self, name: str) -> ServedModel:
        """Return a model. Raises `RefusalError` listing those there are."""
        if name not in self._models:
            raise RefusalError(
                Reason.UNKNOWN, f"there is no model {name!r:.80}; the models here are {', '.join(self._models)}"
            )
        return self._models[name]

    def first(self, *tasks: str) -> ServedModel:
        """Return the first model with one of the tasks, or of all. Raises `RefusalError` where there is none.

        One that is closed stays the first: another would answer in its place, and nobody would notice.
        """
        for model in self._models.values():
            if not tasks or model.task in tasks:
                return model
        raise RefusalError(Reason.UNKNOWN, f"no model here has the task {' or '.join(tasks)}")


def _arrays(predictor: Predictor, raw: RawOutputs) -> dict[str, list[NDArray[np.float32]]]:
    """Return the engine's arrays by its own names, where a task has others."""
    return {output.name: list(raw[output.key]) for output in outputs_from_head(predictor.head) if output.read}


def _settle() -> None:
    """Take what is there now, which stays, out of what Python searches for garbage while requests are answered.

    Else a quarter of the loop's time under load goes into that, in pauses of tens of milliseconds.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _aside(large: bool, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Do large work in a thread, small work at once."""
    if large:
        return await asyncio.to_thread(work, *arguments, **keywords)
    return work(*arguments, **keywords)
