"""An artefact in Triton Inference Server's Python backend: ragged requests of texts or token ids, run as one batch.

The server gives all requests of an execution at once, each with its own shapes. Their texts go through the engine
together, without padding and in bertc's own order, and each request gets its own answer or its own error.

Imported by the `model.py` that `bertc export --triton-repository` writes: triton_python_backend_utils is there only
inside of the server. https://github.com/triton-inference-server/python_backend
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as server
from numpy.typing import NDArray

from bertc.artefact.triton_server import ANSWER, ARTEFACT_FOLDER, ENGINE, IDS, TEXTS, THREADS
from bertc.core.feature import Feature
from bertc.data.rows import row_from_texts
from bertc.errors import EnvironmentLackError, InputError
from bertc.jobs.engine_choice import EngineWish
from bertc.jobs.predict import Encoded, Predictor, predictor_from_path
from bertc.serve.bounds import Limits
from bertc.serve.first_batch import first_batch
from bertc.serve.protocols._arrays import batched
from bertc.serve.protocols._task_names import has_array_per_text
from bertc.serve.protocols._token_ids import features_from_ids, rows_from_ids
from bertc.serve.refused import Reason, RefusalError, check_text
from bertc.tasks import outputs_from_head

Given = Mapping[str, NDArray[Any]]


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What a request asks, ready for the engine; afterwards what the engine said, or why it did not.

    `encoded` is there for texts, `length` (the tokens of a row) for ids. `several` says that a text or pair may have
    several arrays.
    """

    features: Sequence[Feature]
    encoded: Encoded | None = None
    length: int | None = None
    several: bool = False
    raw: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    failed: bool = False


class TritonPythonModel:
    """The class that the Python backend asks for: `initialize`, `execute` and `finalize` are its names."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the artefact beside model.py. Raises what `bertc.load` raises: then the model is not loaded."""
        _check_arrays()
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"] / ARTEFACT_FOLDER
        parameters = config["parameters"]
        threads = int(parameters[THREADS]["string_value"])
        wish = EngineWish(target=parameters[ENGINE]["string_value"] if ENGINE in parameters else None)
        self._predictor: Predictor = predictor_from_path(folder, threads=threads, wish=wish)
        if self._predictor.choice:
            server.Logger.log_info(f"engine {self._predictor.choice}")
        self._outputs = frozenset(each["name"] for each in config["output"])
        if self._predictor.caution:
            server.Logger.log_warn(self._predictor.caution)
        self._predictor.run_features(first_batch(self._predictor, Limits().batch_tokens))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, each by a response of its own, in their order."""
        asked = [self._asked(request) for request in requests]
        self._run([each for each in asked if isinstance(each, _Asked)])
        return [self._response(request, each) for request, each in zip(requests, asked, strict=True)]

    def finalize(self) -> None:
        """Free the engine."""
        self._predictor.close()

    def _asked(self, request: Any) -> _Asked | Exception:
        """Read a request; return what is wrong with it where something is."""
        if request.is_cancelled():
            return RefusalError(Reason.LATE, "it was cancelled")
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            names = set(given)
            if "text" in names and names <= set(TEXTS):
                return self._of_texts(given)
            if "input_ids" in names and names <= set(IDS):
                return self._of_ids(given)
        except Exception as error:  # noqa: BLE001  it belongs to who asked, and the others are answered
            return error
        return RefusalError(
            Reason.INVALID, f"the inputs are text (and pair), or {', '.join(IDS)}; others, or both, are not read"
        )

    def _of_texts(self, given: Given) -> _Asked:
        columns = [_texts_from_array(name, given[name]) for name in TEXTS if name in given]
        if len({len(column) for column in columns}) > 1:
            raise RefusalError(Reason.INVALID, "text and pair have different numbers of texts")
        if not columns[0]:
            raise RefusalError(Reason.EMPTY, "there is no text")
        texts = list(zip(*columns, strict=True))
        check_text(texts)
        encoded = self._predictor.encoded([row_from_texts(*each, id=str(place)) for place, each in enumerate(texts)])
        several = not has_array_per_text(self._predictor.head.task, pairs=len(columns) == 2)
        return _Asked(features=encoded.features, encoded=encoded, several=several)

    def _of_ids(self, given: Given) -> _Asked:
        rows, kinds = rows_from_ids(given)
        return _Asked(features=features_from_ids(self._predictor, rows, kinds), length=given["input_ids"].shape[1])

    def _run(self, asked: Sequence[_Asked]) -> None:
        """Run the texts of all requests as one batch; where that fails, one request after the other."""
        try:
            raw = self._predictor.run_features([feature for each in asked for feature in each.features])
        except Exception as error:  # noqa: BLE001  whatever it is, it is one request's fault and not the others'
            server.Logger.log_error(_place_of(error))
            if len(asked) < 2:
                for each in asked:
                    each.failed = True
                return
            for each in asked:
                self._run([each])
            return
        start = 0
        for each in asked:
            stop = start + len(each.features)
            each.raw = {name: list(arrays[start:stop]) for name, arrays in raw.items()}
            start = stop

    def _response(self, request: Any, asked: _Asked | Exception) -> Any:
        try:
            if isinstance(asked, Exception):
                raise asked
            if asked.failed:
                raise RefusalError(Reason.BROKEN, "the engine failed; the server's log says where")
            return server.InferenceResponse(self._tensors(asked, set(request.requested_output_names())))
        except RefusalError as refusal:
            return server.InferenceResponse(error=server.TritonError(refusal.message, _code(refusal.reason)))
        except InputError as error:
            return server.InferenceResponse(error=server.TritonError(str(error), server.TritonError.INVALID_ARG))
        except Exception as error:  # noqa: BLE001  the log has where it was and not its message, which may hold a text
            server.Logger.log_error(_place_of(error))
            message = "the model failed; the server's log says where"
            return server.InferenceResponse(error=server.TritonError(message, server.TritonError.INTERNAL))

    def _tensors(self, asked: _Asked, wanted: set[str]) -> list[Any]:
        """Return the outputs that are asked for. Who names none is asked for all by the server, and gets what there is.

        Raises `RefusalError` for an output that these inputs do not have.
        """
        found: dict[str, NDArray[Any]] = {}
        if not asked.several:
            outputs = outputs_from_head(self._predictor.head)
            arrays = {each.name: asked.raw[each.key] for each in outputs if each.read}
            found |= batched(self._predictor, arrays, asked.length)
        if asked.encoded is not None and ANSWER in wanted:
            found[ANSWER] = self._answers(asked.encoded, asked.raw)
        missing = wanted - set(found)
        if missing and wanted != self._outputs:
            raise RefusalError(
                Reason.INVALID,
                f"these inputs have no output {', '.join(sorted(missing))}; leave it out",
            )
        return [server.Tensor(name, found[name]) for name in sorted(wanted & set(found))]

    def _answers(self, encoded: Encoded, raw: Mapping[str, list[NDArray[np.float32]]]) -> NDArray[np.object_]:
        """Return a line of JSON for each text, [texts, 1]."""
        outputs = self._predictor.row_outputs(encoded, raw)
        answers = self._predictor.task.predictions(encoded.rows, outputs, self._predictor.head)
        lines = [json.dumps(answer, ensure_ascii=False).encode() for answer in answers]
        return np.array(lines, np.object_)[:, None]


def _check_arrays() -> None:
    """Raise `EnvironmentLackError` for a server that hands arrays over wrongly.

    Up to 24.10 (2.51) the backend was built with pybind11 2.10, which takes the flags of numpy 2's types for their
    sizes: all elements of an array become its first one, and a request with a text ends the process.
    """
    given = np.arange(3, dtype=np.int64)
    handed = server.Tensor("check", given).to_dlpack()
    if not np.array_equal(server.Tensor.from_dlpack("check", handed).as_numpy(), given):
        raise EnvironmentLackError(
            f"this server's Python backend cannot read arrays of numpy {np.__version__}; take Triton 24.11 or later"
        )


def _texts_from_array(name: str, array: NDArray[Any]) -> list[str]:
    """Return the texts of a tensor of bytes, [texts, 1]. Raises `RefusalError` for what is no UTF-8."""
    try:
        return [bytes(element).decode("utf-8") for element in array.ravel()]
    except UnicodeDecodeError:
        raise RefusalError(Reason.INVALID, f"{name} has an element that is no UTF-8") from None


def _code(reason: Reason) -> Any:
    """Return the server's own kind of error."""
    codes = {
        Reason.BROKEN: server.TritonError.INTERNAL,
        Reason.LATE: server.TritonError.CANCELLED,
    }
    return codes.get(reason, server.TritonError.INVALID_ARG)


def _place_of(error: Exception) -> str:
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
