"""`bertc.load`: an artefact as something that answers texts. Needs the artefact's folder and nothing else.

Text in, what the task gives out: labels with scores, entities, answers, embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.artefact.engines import is_of_engine
from bertc.artefact.layout import HEAD_FILE, REPORT_FILE
from bertc.artefact.manifest import Manifest, read_manifest, unmet_demands, verify_artefact
from bertc.checkpoint.config_json import config_from_path
from bertc.checkpoint.files import read_object
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.core.array_value import Packed
from bertc.core.batch import Batch
from bertc.core.crf import Crf, Over
from bertc.core.feature import Feature
from bertc.core.head import Exit, Head, Interaction, Pooling, Problem, Projection, Similarity, Squash
from bertc.core.lstm import Direction, Lstm
from bertc.core.progress import Progress
from bertc.core.workers import Workers
from bertc.data.labels import has_text
from bertc.data.rows import Row, row_from_texts
from bertc.errors import EnvironmentLackError, InputError
from bertc.evaluate.task import RawOutputs, Task
from bertc.jobs.engine_choice import ANY, ChosenEngine, EngineWish, chosen_engine
from bertc.runtime.engine import BeginsBatches, Closing, Engine, begun_outputs, outputs_from_features
from bertc.runtime.fork_guard import ForkGuard
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.shared_engine import opened_engine
from bertc.targets import target_from_name
from bertc.tasks import checked_rows, outputs_from_head, task_from_name

ROWS_PER_BATCH = 256
"""Rows that are held at a time when a file is streamed; the engine cuts them into batches of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Rows with text, checked and encoded: all that is left is to run the engine. A row may have several features."""

    rows: tuple[Row, ...]
    features: list[Feature]


class Predictor(Closing):
    """An open engine with its tokenizer and task; close it, or use it as a context. Made by `bertc.load`.

    `head` says what it gives (task, labels), `max_length` how many tokens of a text are read, `passed` whether the
    build's verdict was a pass, `unvalidated` whether there was none (nothing proves the accuracy), `row_length` how
    many tokens of several texts share a row (None: every text has its own). `folder` has the engine, `choice` says
    which of several it is and why, and is empty where there is one.
    """

    def __init__(self, chosen: ChosenEngine, manifest: Manifest, engine: Engine, *, packing: bool = True) -> None:
        """Take a verified artefact and its open engine."""
        folder, shared = chosen.folder, chosen.shared
        document = read_object(folder / HEAD_FILE)
        self.folder = folder
        self.config: Mapping[str, Any] = config_from_path(shared)
        self.choice = chosen.reason
        self.manifest = manifest
        self.head = head_from_document(document.get("head"), folder)
        self.task: Task = task_from_name(self.head.task)
        pooled = self.task.sentence_modules and self.head.interaction is None
        self.encoder: TextEncoder = text_encoder_from_path(shared, self.config, sentences=pooled, built=True)
        if self.head.interaction is not None:
            self.encoder = self.encoder.with_interaction(self.head.interaction)
        self.max_length = int(document.get("max_length") or self.encoder.max_length)
        row_length = document.get("row_length") if packing else None
        self.row_length = None if row_length is None else int(row_length)
        self._engine = engine

    @property
    def passed(self) -> bool:
        """Whether the verdict of the build was a pass."""
        return read_object(self.folder / REPORT_FILE).get("passed") is True

    @property
    def caution(self) -> str:
        """Why the answers are not to be trusted, in a sentence; empty for an artefact that passed."""
        if self.unvalidated:
            return f"{self.folder} is unvalidated: nothing proves the accuracy of these answers"
        if not self.passed:
            return f"{self.folder} did not pass its gates when it was built; its {REPORT_FILE} says by how much"
        return ""

    @property
    def unvalidated(self) -> bool:
        """Whether the artefact was built without validation."""
        return self.manifest.unvalidated

    def predict(
        self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None
    ) -> list[dict[str, Any] | None]:
        """Answer one text or many, in their order. `pairs` are the second texts; a question's is its context.

        The answer of an empty text is None. Raises `InputError` for what is no text, by its index, and where a text
        lacks its pair.
        """
        first = _texts("texts", texts)
        if pairs is None:
            return list(self.predict_rows(row_from_texts(text) for text in first))
        second = _texts("pairs", pairs)
        if len(first) != len(second):
            raise InputError(f"{len(first)} texts came with {len(second)} pairs; give one pair for each text")
        return list(self.predict_rows(row_from_texts(*both) for both in zip(first, second, strict=True)))

    def predict_rows(self, rows: Iterable[Row], *, batch: int = ROWS_PER_BATCH) -> Iterator[dict[str, Any] | None]:
        """Answer rows one by one as they come, holding `batch` of them at a time; their labels do not matter.

        The answer of a row without any text is None.
        """
        source = iter(rows)
        while chunk := list(islice(source, batch)):
            yield from self._answers(chunk)

    def _answers(self, rows: Sequence[Row]) -> list[dict[str, Any] | None]:
        """Answer some rows at once, those without text by None."""
        places = [place for place, row in enumerate(rows) if has_text(row)]
        answers: list[dict[str, Any] | None] = [None] * len(rows)
        if not places:
            return answers
        encoded = self.encoded([rows[place] for place in places])
        outputs = self.row_outputs(encoded, self.run_features(encoded.features))
        for place, answer in zip(places, self.task.predictions(encoded.rows, outputs, self.head), strict=True):
            answers[place] = answer
        return answers

    def encoded(self, rows: Sequence[Row]) -> Encoded:
        """Check and encode rows that have text; labels do not matter. Raises `InputError` for what does not fit."""
        bare = [replace(row, label=None, tags=None, answers=()) for row in rows]
        self._check_pairs(bare)
        checked = checked_rows(self.task, bare, self.head, self.encoder)
        return Encoded(rows=checked, features=self.features_from_rows(checked))

    def row_outputs(self, encoded: Encoded, raw: RawOutputs) -> Any:
        """Return what the model says of each row, an entry per row, of what the engine says of the features."""
        return self.task.row_outputs(encoded.rows, encoded.features, raw, self.head)

    def features_from_rows(self, rows: Sequence[Row]) -> list[Feature]:
        """Encode checked rows with the artefact's tokenizer and length."""
        return self.task.features_from_rows(rows, self.encoder, self.max_length)

    def run_features(self, features: Sequence[Feature], **options: Any) -> RawOutputs:
        """Run the engine; `options` are those of `outputs_from_features`."""
        return outputs_from_features(self._engine, features, self.head, **{"row_length": self.row_length} | options)

    def begun_features(self, features: Sequence[Feature]) -> Callable[[Progress], RawOutputs]:
        """Begin to run the engine; what comes back waits for its outputs."""
        return begun_outputs(self._engine, features, self.head, row_length=self.row_length)

    def run_batch(self, batch: Batch, outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Run the engine on a batch as it is."""
        return self._engine.run(batch, outputs)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _check_pairs(self, rows: Sequence[Row]) -> None:
        """Say in the caller's words that a text lacks its pair or has one (the task's own check speaks of columns)."""
        choices = self.task.layout.choices
        counts = {len(choice) for choice in choices}
        for row in rows:
            if counts == {2} and len(row.texts) != 2:
                first, second = choices[0]
                raise InputError(f"{row.place}: a {first.role} needs its {second.role}; give it as the text's pair")
            if counts == {1} and len(row.texts) != 1:
                raise InputError(f"{row.place}: {self.task.name} takes one text; leave the pair away")


def predictor_from_path(
    path: str | Path,
    *,
    threads: int = 0,
    packing: bool = True,
    cache: str | Path | None = None,
    workers: Workers | None = None,
    wish: EngineWish = ANY,
) -> Predictor:
    """Open an artefact. `threads` 0 means all cores; without `packing` every text has a row of its own.

    Of several engines it is the one of the `wish`.

    `cache` is a folder in which OpenVINO's engines keep what they compiled, so that the next opening is faster.
    Several `workers` open the engine, each for itself.

    Raises `InputError` if a file is not the one that was built, and `EnvironmentLackError` if this processor lacks what
    the artefact was validated on.
    """
    chosen = chosen_engine(Path(path), wish)
    cache = None if cache is None else Path(cache)
    manifest, engine = opened_artefact(chosen, threads=threads, cache=cache, workers=workers)
    try:
        guarded = engine if isinstance(engine, BeginsBatches) else ForkGuard(engine)
        return Predictor(chosen, manifest, guarded, packing=packing)
    except BaseException:
        engine.close()
        raise


def opened_artefact(
    chosen: ChosenEngine, *, threads: int, cache: Path | None = None, workers: Workers | None = None
) -> tuple[Manifest, Engine]:
    """Open the engine of an artefact, whose files are verified. Raises what `predictor_from_path` raises."""
    folder = chosen.folder
    unread = target_from_name(read_manifest(folder).target).runtime.companion_files
    manifest = verified_manifest(chosen, unread=unread)
    runtime = target_from_name(manifest.target).runtime
    model = folder / runtime.model_files[0]
    return manifest, opened_engine(runtime, model, threads=threads, cache=cache, workers=workers)


def shortest_feature(predictor: Predictor) -> Feature:
    """Return an input of one word, which shows the sizes of what an engine gives out."""
    mask = predictor.head.mask
    text = "a" if mask is None else predictor.head.labels[mask]
    (encoded,) = predictor.encoder.encode_batch([text], max_length=predictor.max_length)
    ids, types = (np.asarray(each, np.int64) for each in (encoded.ids, encoded.type_ids))
    return Feature(input_ids=ids, token_type_ids=types, row=0)


def output_sizes(predictor: Predictor) -> dict[str, list[int]]:
    """Return the sizes of an engine's arrays for a text, by the outputs' names, by running one; -1 is its tokens."""
    raw = predictor.run_features([shortest_feature(predictor)])
    outputs = [output for output in outputs_from_head(predictor.head) if output.read]
    shapes = {output.name: (output.per_token, raw[output.key][0].shape) for output in outputs}
    return {name: [-1, *shape[1:]] if per_token else list(shape) for name, (per_token, shape) in shapes.items()}


def _texts(name: str, given: str | Sequence[str]) -> list[str]:
    """Return the texts that a caller gave. Raises `InputError` naming the index of what is none."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise InputError(f"{name} is {type(given).__name__}, not a text or a list of texts; give str")
    found = list(given)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            remedy = (
                "give the second texts as a list of their own, pairs=[...]"
                if isinstance(text, (tuple, list))
                else "give a str ('' has no answer), or leave it out"
            )
            raise InputError(f"{name}[{index}] is {text!r:.60} ({type(text).__name__}), no text; {remedy}")
    return found


def verified_manifest(chosen: ChosenEngine, *, unread: Collection[str] = ()) -> Manifest:
    """Check an engine's files, those it shares, and this machine; return the engine's manifest.

    `unread` is as for `verify_artefact`.
    """
    folder, shared = chosen.folder, chosen.shared
    manifest = verify_artefact(folder, unread=unread)
    if shared != folder:
        verify_artefact(shared, unread=[name for name in read_manifest(shared).files if is_of_engine(name)])
    missing = unmet_demands(manifest, cpu_features())
    if missing:
        raise EnvironmentLackError(
            f"{folder} was validated on processors with {'; '.join(missing)}, which this one lacks: its answers would "
            "differ; build the checkpoint on this machine, or with --target float"
        )
    return manifest


def head_from_document(document: Any, folder: Path) -> Head:
    """Read the head that an artefact's bertc.json describes. Raises `InputError` if it is none."""
    try:
        assert isinstance(document, Mapping)
        weights = document["layer_weights"]
        return Head(
            task=str(document["task"]),
            labels=tuple(map(str, document["labels"])),
            problem=None if document["problem"] is None else Problem(document["problem"]),
            pooling=None if document["pooling"] is None else Pooling(document["pooling"]),
            normalize=bool(document["normalize"]),
            layer_weights=None if weights is None else tuple(map(float, weights)),
            projections=tuple(
                Projection(
                    folder=str(each["folder"]),
                    sizes=(int(each["sizes"][0]), int(each["sizes"][1])),
                    bias=bool(each["bias"]),
                    tanh=bool(each["tanh"]),
                )
                for each in document.get("projections", ())
            ),
            dimensions=None if document.get("dimensions") is None else int(document["dimensions"]),
            similarity=None if document.get("similarity") is None else Similarity(document["similarity"]),
            interaction=(
                None if document.get("interaction") is None else interaction_from_document(document["interaction"])
            ),
            squash=None if document.get("squash") is None else Squash(document["squash"]),
            crf=None if document.get("crf") is None else crf_from_document(document["crf"]),
            lstm=None if document.get("lstm") is None else lstm_from_document(document["lstm"]),
            exits=tuple(
                Exit(
                    layer=int(each["layer"]),
                    dense=str(each["dense"]),
                    classifier=str(each["classifier"]),
                    pooling=Pooling(each.get("pooling", Pooling.CLS)),
                )
                for each in document.get("exits", ())
            ),
            exit_threshold=None if document.get("exit_threshold") is None else float(document["exit_threshold"]),
            mask=None if document.get("mask") is None else int(document["mask"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}/{HEAD_FILE} describes no head; build the artefact again") from error


def interaction_from_document(document: Mapping[str, Any]) -> Interaction:
    """Read how tokens are compared. Raises `KeyError`, `TypeError` or `ValueError` if it is no description of that."""
    markers = (document[name] for name in ("query_marker", "document_marker", "filler"))
    query, text, filler = (None if id is None else int(id) for id in markers)
    return Interaction(
        query_marker=query,
        document_marker=text,
        query_length=int(document["query_length"]),
        document_length=int(document["document_length"]),
        filler=filler,
        filler_seen=bool(document["filler_seen"]),
        skipped=tuple(map(int, document["skipped"])),
    )


def crf_from_document(document: Mapping[str, Any]) -> Crf:
    """Read the CRF of a head's description. Raises `KeyError`, `TypeError` or `ValueError` if it is none."""
    return Crf(
        transitions=tuple(tuple(map(float, row)) for row in document["transitions"]),
        start=tuple(map(float, document["start"])),
        end=tuple(map(float, document["end"])),
        over=Over(document["over"]),
        constrained=bool(document["constrained"]),
    )


def lstm_from_document(document: Mapping[str, Any]) -> Lstm:
    """Read the LSTM of a head's description. Raises `KeyError`, `TypeError` or `ValueError` if it is none."""

    def packed(each: Mapping[str, Any]) -> Packed:
        return Packed(tuple(map(int, each["shape"])), str(each["numbers"]))

    return Lstm(
        layers=tuple(
            tuple(Direction(**{name: packed(each[name]) for name in ("inputs", "states", "bias")}) for each in layer)
            for layer in document["layers"]
        ),
        weight=packed(document["weight"]),
        bias=packed(document["bias"]),
        over=Over(document["over"]),
    )
